"""Hybrid diffusion (GIDD, von Rutte et al. 2025): a tenth of the noise is random tokens.

Unlike in the paper, that share is the same at all times; `gidd` is the paper's.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import GIDD, SHARED, timed

RECIPE = SHARED


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  process = {"name": "hybrid", "p_u": 0.1, "schedule": {"name": "linear"}}
  return (Field("process", process, GIDD), *timed(GIDD))
