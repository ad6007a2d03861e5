"""Plaid on text8: the masked run with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/text8/plaid.py --workdir=runs/plaid

Gulrajani and Hashimoto 2023: the variational bound under a schedule learned for it.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  return continuous.apply(absorbing.get_config(preset), continuous.plaid())
