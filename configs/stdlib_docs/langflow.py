"""LangFlow on the embedded corpus: the masked quickstart with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/stdlib_docs/langflow.py --workdir=runs/langflow

Embeddings are as wide as the network, as in the paper. What is inferred in place of training code
that was never released: `continuous.langflow`.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  return continuous.apply(config, continuous.langflow_of_characters(config.network.width))
