"""Autoregression on the embedded corpus, the control: the masked run with a causal mask and the plain loss.

python -m dlm_jax.train --config=configs/stdlib_docs/autoregressive.py --workdir=runs/stdlib_docs-autoregressive
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "autoregressive"}
  config.training.head_capacity = 0.0  # every position is scored
  return config
