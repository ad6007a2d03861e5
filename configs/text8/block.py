"""Block diffusion (BD3-LM) on text8: the masked run in blocks of 16 tokens.

  python -m dlm_jax.train --config=configs/text8/block.py --workdir=runs/block

`python -m dlm_jax.tune_block_times` proposes another `process.clip` for a trained model. A block
has times of its own, so that masked tokens cannot be counted over a row.
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  config = absorbing.get_config(preset)
  inner = {**config.process, "masking": "independent"}
  config.process = {"name": "block", "inner": inner, "block_size": 16, "clip": (0.0, 1.0)}
  config.evaluation.process = {}
  return config
