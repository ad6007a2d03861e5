"""`--config=configs/text8.py:mdlm --config.process.name=uniform`: the config on the command line.

`rewrite` turns each `--config.a.b=value` into `--config_field=a.b=value` before flags are parsed,
so that the fields of a config need not be defined as flags.
"""

import re
import sys

from absl import flags
from ml_collections import ConfigDict

from dlm_jax import config_description, configuration
from dlm_jax.core.errors import UserError
from dlm_jax.distributed import cluster

_FIELD = re.compile(r"--?config\.([\w.]+)(?:=(.*))?", re.DOTALL)
EXAMPLE = "--config=configs/stdlib_docs.py:absorbing"


def define() -> None:
  """Defines `--config`, `--config_field` and `--show_config`."""
  flags.DEFINE_string(
    "config",
    None,
    "A file in configs/, its method and its arguments, as in configs/text8.py:mdlm,preset=tiny. "
    "Any field of any part is set by --config.<field>=<value>, such as --config.process.name=duo.",
  )
  flags.DEFINE_multi_string(
    "config_field", [], "A field of the config: a.b=value is what --config.a.b=value says."
  )
  flags.DEFINE_bool(
    "show_config", False, "Print every field of the config, its value and its meaning, and end."
  )


def rewrite(argv: list[str]) -> list[str]:
  """`argv` with fields of the config as values of `--config_field`."""
  if "config_field" not in flags.FLAGS:
    return argv
  words, rest = [], list(argv)
  while rest:
    word = rest.pop(0)
    match = _FIELD.fullmatch(word)
    if match:
      value = match[2]
      if value is None and rest and not rest[0].startswith("-"):
        value = rest.pop(0)
      word = f"--config_field={match[1]}={'true' if value is None else value}"
    words.append(word)
  return words


def is_shown(argv: list[str]) -> bool:
  """Whether the config is to be printed and nothing else done."""
  return "config_field" in flags.FLAGS and "--show_config" in argv


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
