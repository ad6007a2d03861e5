"""Your own prompts and answers: JSONL files with {"prompt": .., "answer": ..} a line.

  python -m dlm_jax.train --config=configs/my_pairs.py:mdlm,path=pairs.jsonl --workdir=runs/mine
  python -m dlm_jax.evaluate --workdir=runs/mine --metric=exact_match --steps=32

The prompt is given, never noised and never scored; the answer is learned, and with it where it
ends. A prompt and its answer fit a row of --config.data.length characters. The network is that of
the quickstart: how long it takes and what it reaches depends on the pairs.
"""

from ml_collections import ConfigDict

from configs import compose, stdlib_docs


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument, sizes=stdlib_docs.SIZES)


def corpus(path: str = "") -> ConfigDict:
  if not path:
    raise ValueError("configs/my_pairs.py needs pairs: give them as in :mdlm,path=pairs.jsonl.")
  config = stdlib_docs.corpus()
  config.data = {
    "corpus": {"name": "pairs", "paths": (path,)},
    "tokenizer": {"name": "character"},
    "packing": "pairs",
    "padding": "end_learned",
    "length": 128,
    "directory": "data",
  }
  return config
