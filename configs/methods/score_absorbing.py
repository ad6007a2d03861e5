"""SEDD absorb (Lou et al. 2024): the network gives ratios of probabilities of masked text."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import RAW_SIGMA, SEDD, SHARED, timed

# The numbers that others print of SEDD are of a million steps; the authors' code has 1.3 million.
RECIPE = (*SHARED, *RAW_SIGMA)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  process = {"name": "score_absorbing", "schedule": {"name": "log_linear"}}
  return (Field("process", process, f"{SEDD}, eq. 9"), *timed(SEDD))
