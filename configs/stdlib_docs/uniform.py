"""Uniform diffusion (UDLM, Duo) on the embedded corpus: the masked run with another noise.

  python -m dlm_jax.train --config=configs/stdlib_docs/uniform.py --workdir=runs/uniform

Nothing in a noisy text says how noisy it is, so the network is given the time.
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "uniform", "schedule": {"name": "linear"}}
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
