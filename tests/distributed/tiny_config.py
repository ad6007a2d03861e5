"""`tests.tiny` as a config file: `--config=tests/distributed/tiny_config.py:<data directory>`."""

from ml_collections import ConfigDict

from tests import tiny


def get_config(directory: str) -> ConfigDict:
  return tiny.config(directory)
