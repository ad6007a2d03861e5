"""Autoregression on text8, the control: the masked run with a causal mask and the plain loss.

python -m dlm_jax.train --config=configs/text8/autoregressive.py --workdir=runs/text8-autoregressive
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "autoregressive"}
  config.training.head_capacity = 0.0  # every position is scored
  return config
