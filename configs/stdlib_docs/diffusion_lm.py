"""Diffusion-LM on the embedded corpus: the masked quickstart with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/stdlib_docs/diffusion_lm.py --workdir=runs/diffusion_lm

Li et al. 2022: the squared error of clean embeddings.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  return continuous.apply(absorbing.get_config(), continuous.diffusion_lm())
