"""Masked diffusion whose tokens learn schedules of their own (GenMD4) on text8.

python -m dlm_jax.train --config=configs/text8/generalized_absorbing.py --workdir=runs/genmd4
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  config = absorbing.get_config(preset)
  config.process = {"name": "generalized_absorbing"}
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
