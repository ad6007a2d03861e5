"""UDLM (Schiff et al. 2024): noise is a random token, and any token may change at any step.

Nothing in a noisy text says how noisy it is, so the network is given the time. With
`timesteps=1000` the bound is that of so many steps, which is D3PM's.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import RAW_SIGMA, SHARED, timed

UDLM = "UDLM, Schiff et al. 2024"
D3PM = "D3PM, Austin et al. 2021"
RECIPE = (*SHARED, *RAW_SIGMA)


def fields(config: ConfigDict, timesteps: int = 0) -> tuple[Field, ...]:
  del config
  process = {"name": "uniform", "schedule": {"name": "linear"}}
  made = (Field("process", process, f"{UDLM}, eq. 18"), *timed(UDLM))
  return (*made, Field("process.timesteps", timesteps, f"{D3PM}, eq. 1")) if timesteps else made
