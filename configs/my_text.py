"""Your own text: the quickstart's network on the characters of UTF-8 files.

  python -m dlm_jax.train --config=configs/my_text.py:absorbing,path=book.txt --workdir=runs/mine

The path is a file or a glob. Documents end at blank lines; `--config.data.corpus.document=line`
makes each line one, `file` each file, and `window` cuts a file without parts into pieces. A
document lies in one split as a whole. What the network reaches and how long it takes depends on the
text: on the embedded corpus it takes about five minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from configs import compose, stdlib_docs


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument, sizes=stdlib_docs.SIZES)


def corpus(path: str = "") -> ConfigDict:
  if not path:
    raise ValueError("configs/my_text.py needs a text: give one as in :absorbing,path=book.txt.")
  config = stdlib_docs.corpus()
  config.data.corpus = {
    "name": "text_files",
    "paths": (path,),
    "document": "blank_lines",
    "validation": 0.05,
    "test": 0.05,
  }
  config.data.tokenizer = {"name": "character"}
  return config
