"""SEDD absorb (Lou et al. 2024): the network gives ratios of probabilities of masked text."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import SEDD, SEDD_TRAINING, SHARED, timed

RECIPE = (*SHARED, *SEDD_TRAINING)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  process = {"name": "score_absorbing", "schedule": {"name": "log_linear"}}
  return (Field("process", process, f"{SEDD}, eq. 9"), *timed(SEDD))
