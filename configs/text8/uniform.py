"""Uniform diffusion (UDLM, Duo) on text8: the masked run with another noise.

  python -m dlm_jax.train --config=configs/text8/uniform.py --workdir=runs/uniform

Nothing in a noisy text says how noisy it is, so the network is given the time.
Published for `small` after a million steps: at most 1.61 bits a character (D3PM uniform).
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  config = absorbing.get_config(preset)
  config.process = {"name": "uniform", "schedule": {"name": "linear"}}
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
