"""Uniform diffusion (UDLM, Duo) on the embedded corpus: the masked run with another noise.

python -m dlm_jax.train --config=configs/stdlib_docs/uniform.py --workdir=runs/uniform
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "uniform", "schedule": {"name": "linear"}}
  config.network.time_conditioned = True  # nothing in a noisy text says how noisy it is
  config.training.head_capacity = 0.0  # every position is scored
  return config
