"""MDLM (Sahoo et al. 2024): masked diffusion trained on the continuous-time bound, without time."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MDLM, SHARED, masked

RECIPE = SHARED


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return (*masked(f"{MDLM}, eq. 10"), Field("network.time_conditioned", False, MDLM))
