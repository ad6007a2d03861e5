"""The config that the flags of a command line describe, which `config_line` defines."""

import sys

from absl import flags
from ml_collections import ConfigDict

from dlm_jax import config_description, configuration
from dlm_jax.core.errors import UserError
from dlm_jax.distributed import cluster

EXAMPLE = "--config=configs/stdlib_docs.py:absorbing"


def show(argv: list[str]) -> None:
  """Prints the config of a command line whose other flags may be missing."""
  path, assignments = None, []
  for word in argv[1:]:
    name, _, value = word.partition("=")
    path = value if name == "--config" else path
    assignments += [value] if name == "--config_field" else []
  sys.stdout.write(config_description.describe(_load(path, assignments)))


def from_flags() -> ConfigDict:
  """The config that the flags describe. Raises `UserError` when its file or a field is wrong."""
  config = _load(flags.FLAGS.config, flags.FLAGS.config_field)
  for sentence in configuration.replacements(config):
    cluster.say(sentence)
  return config.lock()


def _load(path: str | None, assignments: list[str]) -> ConfigDict:
  if not path:
    raise UserError(f"--config is missing: name a file of configs/, as in {EXAMPLE}.")
  pairs = (assignment.partition("=") for assignment in assignments)
  return configuration.load(path, {name: value for name, _, value in pairs})
