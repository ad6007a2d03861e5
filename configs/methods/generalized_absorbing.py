"""GenMD4 (Shi et al. 2024): masked diffusion whose tokens learn schedules of their own."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MD4, MD4_TRAINING, SHARED, timed

RECIPE = (*SHARED, *MD4_TRAINING)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return (Field("process", {"name": "generalized_absorbing"}, f"{MD4}, section 6"), *timed(MD4))
