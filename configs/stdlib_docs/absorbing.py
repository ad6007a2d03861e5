"""Masked diffusion on the embedded corpus: the quickstart."""

from ml_collections import ConfigDict

from configs import defaults


def get_config() -> ConfigDict:
  config = defaults.get_config()
  config.data = {
    "corpus": {"name": "stdlib_docs"},
    "tokenizer": {"name": "text8"},
    "packing": "stream",
    "length": 128,
    "directory": "data",
  }
  return config
