"""What a dataclass says of its fields, read from its docstring and its `dataclasses.Field`s."""

import dataclasses
import inspect
import re


def meanings(cls: type) -> dict[str, str]:
  """The meaning of each field of a dataclass, from `Attributes:` in its docstring.

  An entry `a, b: text` holds for both fields. Those of a base class are found too. The
  `metadata["help"]` of a field comes first. Fields without a meaning are left out.
  """
  found: dict[str, str] = {}
  for base in reversed(cls.__mro__):
    found |= _attributes(base.__dict__.get("__doc__") or "")
  for field in dataclasses.fields(cls):
    if "help" in field.metadata:
      found[field.name] = field.metadata["help"]
  names = {field.name for field in dataclasses.fields(cls)}
  return {name: text for name, text in found.items() if name in names}


def _attributes(docstring: str) -> dict[str, str]:
  """The entries of the section `Attributes:`, each as one line."""
  _, _, section = inspect.cleandoc(docstring).partition("Attributes:\n")
  found: dict[str, str] = {}
  names: list[str] = []
  for line in section.splitlines():
    if line and not line.startswith(" "):
      break  # the next section
    entry = re.match(r"  (\w+(?:, \w+)*): (.*)", line)
    if entry:
      names = entry[1].split(", ")
      found |= dict.fromkeys(names, entry[2])
    elif line.strip():
      found |= {name: f"{found[name]} {line.strip()}" for name in names}
  return found
