"""Hybrid diffusion (GIDD) on text8: a tenth of the noise is random tokens.

python -m dlm_jax.train --config=configs/text8/hybrid.py --workdir=runs/hybrid
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  config = absorbing.get_config(preset)
  config.process = {"name": "hybrid", "p_u": 0.1, "schedule": {"name": "linear"}}
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
