"""Block diffusion (BD3-LM) on the embedded corpus: the masked run in blocks of 16 tokens.

python -m dlm_jax.train --config=configs/stdlib_docs/block.py --workdir=runs/stdlib_docs-block
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {
    "name": "block",
    "inner": "absorbing",
    "block_size": 16,
    "clip": (0.0, 1.0),  # python -m dlm_jax.clip proposes another for a trained model
    "schedule": {"name": "linear"},
  }
  return config
