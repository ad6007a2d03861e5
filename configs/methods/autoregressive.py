"""Autoregression: the control, with the network and the training of masked diffusion."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import EVERY_POSITION, MDLM, SHARED

RECIPE = SHARED


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  return (Field("process", {"name": "autoregressive"}, MDLM), EVERY_POSITION)
