"""Labelled text: two Markov chains, and the label says which of them a row comes from.

  python -m dlm_jax.train --config=configs/synthetic_labelled.py --workdir=runs/labelled
  python -m dlm_jax.sample --workdir=runs/labelled --label=1 --guidance=2

A tenth of the rows is trained on without their label, so that samples can be guided to it. A toy to
try guidance with: its bound is of no interest.
"""

from ml_collections import ConfigDict

from configs import compose, stdlib_docs


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument, sizes=stdlib_docs.SIZES)


def corpus() -> ConfigDict:
  config = stdlib_docs.corpus()
  config.data.update(
    corpus={"name": "synthetic_labelled", "num_labels": 2, "letters": 4, "characters": 16},
    packing="padded",
    length=16,
  )
  config.network.update(conditioning="adaln", label_dropout=0.1)
  return config
