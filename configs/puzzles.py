"""Puzzles, rows of a prompt and its answer: where refinement and the order of tokens matter.

  python -m dlm_jax.train --config=configs/puzzles.py:absorbing,task=sudoku --workdir=runs/sudoku
  python -m dlm_jax.evaluate --workdir=runs/sudoku --metric=exact_match --steps=8

A task is `sudoku` (4x4), `path_star`, `planning`, `arithmetic` or `reversal`; its fields are those
of its corpus, such as --config.data.corpus.size=6 with --config.data.length=73. The prompt is given
and the answer is learned, with the end symbol that fills up its row where answers differ in length.
What each method makes of them: experiments/where_it_pays.
"""

from ml_collections import ConfigDict

from configs import compose, stdlib_docs

# Tokens of a row by the task, with the defaults of its corpus.
LENGTHS = {"sudoku": 33, "path_star": 44, "planning": 42, "arithmetic": 21, "reversal": 11}


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument, sizes=stdlib_docs.SIZES)


def corpus(task: str = "sudoku") -> ConfigDict:
  if task not in LENGTHS:
    raise ValueError(f"there is no task {task!r}: it is one of {', '.join(LENGTHS)}.")
  config = stdlib_docs.corpus()
  config.data = {
    "corpus": {"name": task},
    "tokenizer": {"name": "character"},
    "packing": "pairs",
    "padding": "end_learned",
    "length": LENGTHS[task],
    "directory": "data",
  }
  config.network.update(depth=4, heads=4)
  config.training.update(steps=5000, batch_size=128)
  return config
