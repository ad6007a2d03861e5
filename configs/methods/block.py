"""BD3-LM (Arriola et al. 2025): masked diffusion within blocks, from left to right over them.

`python -m dlm_jax.tune_block_times` proposes another `process.clip` for a trained model. A block
has times of its own, so that masked tokens cannot be counted out over a row.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import SHARED

BD3 = "BD3-LM, Arriola et al. 2025"
RECIPE = SHARED


def fields(config: ConfigDict, block_size: int = 16) -> tuple[Field, ...]:
  process = {
    "name": "block",
    "inner": {**config.process.to_dict(), "masking": "independent"},
    "block_size": block_size,
    "clip": (0.0, 1.0),
  }
  return (Field("process", process, f"{BD3}, sections 3.2 and 5.2"),)
