"""MD4 (Shi et al. 2024): masked diffusion on the same bound as MDLM; the network sees the time."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MD4, MD4_TRAINING, SHARED, masked, timed

RECIPE = (*SHARED, *MD4_TRAINING, Field("optimizer.learning_rate", 5e-4, MD4))


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return (*masked(f"{MD4}, eq. 6"), *timed(MD4))
