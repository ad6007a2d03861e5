"""CDCD on text8: the masked run with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/text8/cdcd.py --workdir=runs/cdcd

Dieleman et al. 2022: cross-entropy under time warping.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  return continuous.apply(absorbing.get_config(preset), continuous.cdcd())
