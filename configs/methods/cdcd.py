"""CDCD (Dieleman et al. 2022): cross-entropy of Gaussian diffusion under time warping."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import SHARED, continuous, first_entropy

CDCD = "CDCD, Dieleman et al. 2022"
RECIPE = SHARED


def fields(config: ConfigDict) -> tuple[Field, ...]:
  # Noise from 2 to 300 on embeddings of size sqrt(256), in their own numbers: 2 log 2, 2 log 300.
  ends = {"gamma_min": 1.386, "gamma_max": 11.408}
  return continuous(
    f"{CDCD}, sections 3.3 and 3.4",
    width=256,
    norm="root",
    objective="cross_entropy",
    output_prior=False,
    self_conditioning=0.5,
    schedule={"name": "warped", **ends, "entropy": first_entropy(config)},
  )
