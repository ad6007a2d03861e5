"""Autoregression: the control, with the training of masked diffusion.

In the papers its network has no adaLN, which would see nothing but time 0 and still be worth 1.0 of
perplexity on LM1B (Eso-LMs, table 1).
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MDLM, SHARED

RECIPE = (*SHARED, Field("network.conditioning", "none", f"{MDLM}, the authors' code"))


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return (Field("process", {"name": "autoregressive"}, MDLM),)
