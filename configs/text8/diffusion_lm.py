"""Diffusion-LM on text8: the masked run with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/text8/diffusion_lm.py --workdir=runs/diffusion_lm

Li et al. 2022: the squared error of clean embeddings.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  return continuous.apply(absorbing.get_config(preset), continuous.diffusion_lm())
