"""Hybrid diffusion (GIDD) on text8: a tenth of the noise is random tokens.

python -m dlm_jax.train --config=configs/text8/hybrid.py --workdir=runs/hybrid
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "hybrid", "p_u": 0.1, "schedule": {"name": "linear"}}
  config.network.time_conditioned = True  # nothing in a noisy text says how noisy it is
  config.training.head_capacity = 0.0  # every position is scored
  return config
