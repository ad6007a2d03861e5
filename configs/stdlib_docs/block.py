"""Block diffusion (BD3-LM) on the embedded corpus: the masked run in blocks of 16 tokens.

  python -m dlm_jax.train --config=configs/stdlib_docs/block.py --workdir=runs/block

`python -m dlm_jax.tune_block_times` proposes another `process.clip` for a trained model. A block
has times of its own, so that masked tokens cannot be counted over a row.
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  inner = {**config.process, "masking": "independent"}
  config.process = {"name": "block", "inner": inner, "block_size": 16, "clip": (0.0, 1.0)}
  return config
