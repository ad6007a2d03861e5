"""Duo (Sahoo et al. 2025): uniform diffusion; for half of training the noisy tokens are soft.

They are mixtures that a Gaussian under the uniform noise gives, which makes learning easier.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import DUO, RAW_SIGMA, SHARED, timed

RECIPE = (*SHARED, *RAW_SIGMA)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  process = {
    "name": "duo",
    "schedule": {"name": "linear"},
    "curriculum_steps": config.training.steps // 2,
  }
  return (Field("process", process, f"{DUO}, eq. 10"), *timed(DUO))
