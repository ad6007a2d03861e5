"""LangFlow on text8: the masked run with Gaussian noise on embeddings.

  python -m dlm_jax.train --config=configs/text8/langflow.py --workdir=runs/langflow

Embeddings are as wide as the network `small`, as in the paper. What is inferred in place of
training code that was never released: `continuous.langflow`.
"""

from ml_collections import ConfigDict

from configs import continuous
from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  return continuous.apply(absorbing.get_config(preset), continuous.langflow_of_characters(768))
