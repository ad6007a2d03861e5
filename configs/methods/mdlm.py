"""MDLM (Sahoo et al. 2024): masked diffusion trained on the continuous-time bound.

The network is not given the time, which the masks tell; with `time=True` it is, as for the first
number of the paper on OpenWebText (table 12 has both).
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MDLM, RAW_SIGMA, SHARED, masked, timed

RECIPE = SHARED


def fields(config: ConfigDict, time: bool = False) -> tuple[Field, ...]:
  del config
  told = (*timed(MDLM), *RAW_SIGMA) if time else (Field("network.time_conditioned", False, MDLM),)
  return (*masked(f"{MDLM}, eq. 10"), *told)
