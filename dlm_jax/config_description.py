"""A config as a page for a person: every field of every part, its value and what it means."""

from collections.abc import Iterator, Mapping

from ml_collections import ConfigDict

from dlm_jax import configuration
from dlm_jax.core.fields import Family, Field, Required
from dlm_jax.networks.presets import PRESETS


def describe(config: ConfigDict) -> str:
  """A line a field: `a.b = value  # meaning`; a `*` before those that the config sets itself."""
  lines = ["# a * marks what the config sets; all else is the default of its part", ""]
  values = config.to_dict()
  for section in configuration.sections():
    value = values.get(section)
    if section in configuration.VALUES:
      lines.append(_line(section, configuration.VALUES[section], value, is_set=value is not None))
    elif section in configuration.FAMILIES:
      lines += _part(section, configuration.FAMILIES[section], value or {})
    else:
      lines += _fields(section, configuration.fields_of(section), value or {}, {})
    lines.append("")
  lines += [f"# {sentence}" for sentence in configuration.replacements(config)]
  return "\n".join(lines).rstrip() + "\n"


def _part(where: str, family: Family, values: Mapping[str, object]) -> Iterator[str]:
  name = str(values["name"])
  yield f"* {where}.name = {name}  # one of {', '.join(family.names())}"
  fields = family.fields(name)
  own = {n: v for n, v in values.items() if n != "name"}
  yield from _fields(where, fields, own, _preset(family, values))


def _fields(
  where: str,
  fields: Mapping[str, Field],
  values: Mapping[str, object],
  preset: Mapping[str, object],
) -> Iterator[str]:
  for name, field in fields.items():
    dotted, value = f"{where}.{name}", values.get(name)
    if field.family is not None and isinstance(value, Mapping):
      yield from _part(dotted, field.family, value)
    else:
      default = preset.get(name, field.default)
      yield _line(dotted, field, default if value is None else value, is_set=value is not None)


def _line(where: str, field: Field, value: object, *, is_set: bool) -> str:
  shown = "(none: it must be set)" if value is Required else value if value != "" else '""'
  if field.family is not None and not is_set:
    shown = f"(its default; one of {', '.join(field.family.names())})"
  words = field.sentence
  return f"{'*' if is_set else ' '} {where} = {shown}{f'  # {words}' if words else ''}"


def _preset(family: Family, values: Mapping[str, object]) -> Mapping[str, object]:
  """The sizes that a network's preset stands for."""
  if family is not configuration.FAMILIES["network"]:
    return {}
  return PRESETS.get(str(values.get("preset", "")), {})
