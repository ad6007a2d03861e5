"""BD3-LM (Arriola et al. 2025): masked diffusion within blocks, from left to right over them.

The paper trains in two stages. `first=runs/mdlm` names the run of the first, of one block of the
whole length, which is `mdlm`: this run starts with its weights and a fresh optimizer, and searches
the interval of times that it trains on again at each validation. Without it `process.clip` stays,
and `python -m dlm_jax.tune_block_times` proposes another for a trained model. A block has times of
its own, so that masked tokens cannot be counted out over a row.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import SHARED

BD3 = "BD3-LM, Arriola et al. 2025"
RECIPE = SHARED


def fields(config: ConfigDict, block_size: int = 16, first: str = "") -> tuple[Field, ...]:
  process = {
    "name": "block",
    "inner": {**config.process.to_dict(), "masking": "independent"},
    "block_size": block_size,
    "clip": (0.0, 1.0),
  }
  made = (Field("process", process, f"{BD3}, sections 3.2 and 5.2"),)
  return (*made, *second_stage(first)) if first else made


def second_stage(first: str) -> tuple[Field, ...]:
  """From the weights of the run `first`."""
  return (
    Field("training.weights", first, f"{BD3}, section 5.2 and 6"),
    Field("training.clip_batches", 100, f"{BD3}, section 5.3"),
    Field("network.time_conditioned", False, BD3),
  )
