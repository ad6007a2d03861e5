"""Block diffusion (BD3-LM) on text8: the masked run in blocks of 16 tokens.

python -m dlm_jax.train --config=configs/text8/block.py --workdir=runs/text8-block
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


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
