"""cdcd on the embedded corpus."""

from ml_collections import ConfigDict

from configs import continuous


def get_config() -> ConfigDict:
  return continuous.on_stdlib_docs(continuous.cdcd())
