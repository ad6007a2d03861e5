"""Diffusion-LM (Li et al. 2022): the clean embedding is predicted, by its squared error."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import SHARED, continuous

DIFFUSION_LM = "Diffusion-LM, Li et al. 2022"
RECIPE = SHARED


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return continuous(
    DIFFUSION_LM,
    norm="root",
    parameterization="x",
    objective="mse",
    schedule={"name": "sqrt"},
  )
