"""Plaid (Gulrajani and Hashimoto 2023): the bound of Gaussian diffusion, its schedule learned."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import SHARED, continuous

PLAID = "Plaid, Gulrajani and Hashimoto 2023"
RECIPE = (*SHARED, Field("times.sampling", "shared_offset", PLAID))


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  schedule = {"name": "monotone", "gamma_min": -3.0, "gamma_max": 6.0}
  return continuous(f"{PLAID}, section 3", schedule=schedule, self_conditioning=0.25)
