"""MDLM (Sahoo et al. 2024): masked diffusion trained on the continuous-time bound.

The network is not given the time, which the masks tell; with `time=True` it is, as for the first
number of the paper on OpenWebText (table 12 has both). With `timesteps=1000` the bound is that of
so many steps, as in D3PM (table 8).
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MDLM, RAW_SIGMA, SHARED, masked, timed

RECIPE = SHARED


def fields(config: ConfigDict, time: bool = False, timesteps: int = 0) -> tuple[Field, ...]:
  del config
  told = (*timed(MDLM), *RAW_SIGMA) if time else (Field("network.time_conditioned", False, MDLM),)
  made = (*masked(f"{MDLM}, eq. 10"), *told)
  if not timesteps:
    return made
  counted = "ours: masks are counted out in continuous time alone"
  return (
    *made,
    Field("process.timesteps", timesteps, f"{MDLM}, table 8"),
    Field("evaluation.process", {}, counted),
  )
