"""SEDD uniform (Lou et al. 2024): ratios of probabilities of text with random tokens."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import RAW_SIGMA, SEDD, SHARED, timed

# The numbers that others print of SEDD are of a million steps; the authors' code has 1.3 million.
RECIPE = (*SHARED, *RAW_SIGMA)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  process = {
    "name": "score_uniform",
    "schedule": {"name": "geometric", "sigma_min": 1e-4, "sigma_max": 20.0},
  }
  return (
    Field("process", process, f"{SEDD}, eq. 9 and section 5"),
    *timed(SEDD),
  )
