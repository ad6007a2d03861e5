"""Masked diffusion of labelled text: two Markov chains, the label says which.

  python -m dlm_jax.train --config=configs/synthetic_labelled/absorbing.py --workdir=runs/labelled
  python -m dlm_jax.sample --workdir=runs/labelled --label=1 --guidance=2

A tenth of the rows is trained on without their label, so that samples can be guided to it.
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.data = {
    "corpus": {"name": "synthetic_labelled", "num_labels": 2, "letters": 4, "characters": 16},
    "tokenizer": {"name": "text8"},
    "packing": "padded",
    "length": 16,
    "directory": "data",
  }
  config.network.update(conditioning="adaln")
  config.network.label_dropout = 0.1
  return config
