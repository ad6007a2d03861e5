"""Hybrid diffusion (GIDD) on the embedded corpus: a tenth of the noise is random tokens.

python -m dlm_jax.train --config=configs/stdlib_docs/hybrid.py --workdir=runs/hybrid
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "hybrid", "p_u": 0.1, "schedule": {"name": "linear"}}
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
