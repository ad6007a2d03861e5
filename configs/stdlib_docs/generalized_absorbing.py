"""Masked diffusion whose tokens learn schedules of their own (GenMD4) on the embedded corpus.

python -m dlm_jax.train --config=configs/stdlib_docs/generalized_absorbing.py --workdir=runs/genmd4
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "generalized_absorbing"}
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
