"""Hybrid diffusion (GIDD) on the embedded corpus: a tenth of the noise is random tokens.

python -m dlm_jax.train --config=configs/stdlib_docs/hybrid.py --workdir=runs/hybrid
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "hybrid", "p_u": 0.1, "schedule": {"name": "linear"}}
  config.network.time_conditioned = True  # nothing in a noisy text says how noisy it is
  config.training.head_capacity = 0.0  # every position is scored
  return config
