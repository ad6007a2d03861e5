"""CDCD on the embedded corpus: the masked quickstart with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/stdlib_docs/cdcd.py --workdir=runs/cdcd

Dieleman et al. 2022: cross-entropy under time warping.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  return continuous.apply(absorbing.get_config(), continuous.cdcd())
