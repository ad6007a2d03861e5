"""`--config=configs/text8.py:mdlm --config.process.name=uniform`: the flags of a config.

`rewrite` turns each `--config.a.b=value` into `--config_field=a.b=value` before flags are parsed,
so that the fields of a config need not be defined as flags.
"""

import re

from absl import flags

_FIELD = re.compile(r"--?config\.([\w.]+)(?:=(.*))?", re.DOTALL)


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
