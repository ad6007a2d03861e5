"""Uniform diffusion of labelled text: the masked run with another noise.

python -m dlm_jax.train --config=configs/synthetic_labelled/uniform.py --workdir=runs/labelled
python -m dlm_jax.sample --workdir=runs/labelled --label=1 --guidance=2
"""

from ml_collections import ConfigDict

from configs.synthetic_labelled import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {"name": "uniform", "schedule": {"name": "linear"}}
  config.network.time_conditioned = True
  return config
