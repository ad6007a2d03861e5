"""Masked diffusion, with the loss that its corpus was tuned with.

Tokens are masked one by one and never change once they are revealed (MDLM, Sahoo et al. 2024; MD4,
Shi et al. 2024). What the corpus sets of the process stays: on the embedded corpus the masks of a
row are counted out and the weight of the loss is capped. `mdlm` is the paper's own loss.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MDLM, SHARED

RECIPE = SHARED


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return (Field("process.name", "absorbing", f"{MDLM}, section 3"),)
