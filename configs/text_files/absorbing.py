"""Masked diffusion on your own text: the quickstart's network on the characters of UTF-8 files.

  python -m dlm_jax.train --config=configs/text_files/absorbing.py:my_text.txt --workdir=runs/mine

The argument is a file or glob. Documents end at blank lines; `--config.data.corpus.document=file`
makes a file one document.
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config(path: str) -> ConfigDict:
  config = absorbing.get_config()
  config.data.corpus = {
    "name": "text_files",
    "paths": (path,),
    "document": "blank_lines",
    "validation": 0.05,
    "test": 0.05,
  }
  config.data.tokenizer = {"name": "character"}
  return config
