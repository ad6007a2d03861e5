"""Values of a config, and text of the command line, read as the type that a field declares."""

import ast
import re
import types
import typing

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NOTHING = ("none", "null", "None")


def alternatives(annotation: object) -> tuple[object, ...]:
  """The members of a union, or the type itself."""
  if typing.get_origin(annotation) in (typing.Union, types.UnionType):
    return typing.get_args(annotation)
  return (annotation,)


def read(value: object, annotation: object) -> object:
  """`value` as the type `annotation`; raises `ValueError` or `SyntaxError` where it is none."""
  choices = alternatives(annotation)
  if value is None or (value in NOTHING and type(None) in choices):
    return None
  choices = [choice for choice in choices if choice is not type(None)]
  for choice in choices[:-1]:
    try:
      return _read_one(value, choice)
    except (ValueError, SyntaxError):
      continue
  return _read_one(value, choices[-1])


def _read_one(value: object, kind: object) -> object:
  if kind is bool:
    return _truth(value)
  if kind is int:
    return _integer(value)
  if kind is float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
      raise ValueError(value)
    return float(value) if isinstance(value, str) else value
  if kind is str:
    if not isinstance(value, str):
      raise ValueError(value)
    return value
  if typing.get_origin(kind) is tuple:
    return _entries(value, typing.get_args(kind))
  return _literal(value)


def _truth(value: object) -> bool:
  if isinstance(value, bool):
    return value
  if not isinstance(value, str) or value.lower() not in TRUTH:
    raise ValueError(value)
  return TRUTH[value.lower()]


def _integer(value: object) -> int:
  """Whole numbers may be spelled as `1e3`."""
  if isinstance(value, bool) or not isinstance(value, int | float | str):
    raise ValueError(value)
  if isinstance(value, str) and re.fullmatch(r"[+-]?[\d_]+", value):
    return int(value)
  number = float(value)
  if not number.is_integer():
    raise ValueError(value)
  return int(number)


def _entries(value: object, kinds: tuple[object, ...]) -> tuple[object, ...]:
  """A tuple, written `0.3,0.8` or `(0.3, 0.8)`."""
  if isinstance(value, str):
    value = [entry.strip(" '\"") for entry in value.strip().strip("()[]").split(",")]
    value = [entry for entry in value if entry]
  if not isinstance(value, list | tuple):
    raise ValueError(value)
  if not kinds:
    return tuple(value)
  if kinds[-1] is Ellipsis:
    kinds = (kinds[0],) * len(value)
  if len(kinds) != len(value):
    raise ValueError(value)
  return tuple(read(entry, kind) for entry, kind in zip(value, kinds, strict=True))


def _literal(value: object) -> object:
  """A value whose type says little: a number, tuple or mapping of Python, or else the text."""
  if not isinstance(value, str):
    return value
  try:
    return ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return value


def describe_type(annotation: object) -> str:
  """The type in words: `a whole number or none`."""
  names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
  words = []
  for choice in alternatives(annotation):
    if typing.get_origin(choice) is tuple:
      inner = [c for c in typing.get_args(choice) if c is not Ellipsis]
      many = "values" if Ellipsis in typing.get_args(choice) else f"{len(inner)} values"
      words.append(f"{many} such as 0.3,0.8" if float in inner else many)
    else:
      words.append(names.get(choice, "none" if choice is type(None) else str(choice)))
  return " or ".join(words)
