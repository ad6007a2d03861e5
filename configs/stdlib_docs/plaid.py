"""Plaid on the embedded corpus: the masked quickstart with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/stdlib_docs/plaid.py --workdir=runs/plaid

Gulrajani and Hashimoto 2023: the variational bound under a schedule learned for it.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  return continuous.apply(absorbing.get_config(), continuous.plaid())
