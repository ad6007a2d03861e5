"""MD4 (Shi et al. 2024): masked diffusion on the same bound as MDLM; the network sees the time."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MD4, MD4_TRAINING, SHARED, masked, timed

RECIPE = (*SHARED, *MD4_TRAINING)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return (*masked(f"{MD4}, eq. 6"), *timed(MD4))
