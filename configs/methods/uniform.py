"""UDLM (Schiff et al. 2024): noise is a random token, and any token may change at any step.

Nothing in a noisy text says how noisy it is, so the network is given the time.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import RAW_SIGMA, SHARED, timed

UDLM = "UDLM, Schiff et al. 2024"
RECIPE = (*SHARED, *RAW_SIGMA)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  process = {"name": "uniform", "schedule": {"name": "linear"}}
  return (Field("process", process, f"{UDLM}, eq. 18"), *timed(UDLM))
