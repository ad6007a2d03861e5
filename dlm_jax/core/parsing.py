"""Values of a config, and text of the command line, read as the type that a field declares."""

import ast
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, cast

from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import FINITE, OutOfRange, Range

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NOTHING = ("none", "null", "None")


def alternatives(annotation: object) -> tuple[object, ...]:
  """The members of a union, or the type itself."""
  if typing.get_origin(annotation) in (typing.Union, types.UnionType):
    return typing.get_args(annotation)
  return (annotation,)


def checked(
  reader: Callable[[object, object], object], value: object, annotation: object, where: str
) -> object:
  """What `reader`, `read` or `accept`, makes of a value of this type.

  Raises:
    UserError: the value is of another type or out of its range; `where` is what it was given for.
  """
  try:
    return reader(value, annotation)
  except OutOfRange as error:
    raise UserError(f"{where} must {error}, got {value!r}.") from error
  except (ValueError, SyntaxError) as error:
    raise UserError(f"{where} must be {describe_type(annotation)}, got {value!r}.") from error


def bare(annotation: object) -> object:
  """The type without the range that it is annotated with."""
  is_annotated = typing.get_origin(annotation) is Annotated
  return typing.get_args(annotation)[0] if is_annotated else annotation


def range_of(annotation: object) -> Range | None:
  """The range that a type is annotated with."""
  ranges = (a for a in typing.get_args(annotation) if isinstance(a, Range))
  return next(ranges, None) if typing.get_origin(annotation) is Annotated else None


def accept(value: object, annotation: object) -> object:
  """`value` of Python as the type `annotation`: as `read`, but text stays text.

  What is neither a number nor text nor a sequence of these, such as an array, is left as it is.
  """
  kinds = [bare(choice) for choice in alternatives(annotation)]
  if isinstance(value, str):
    if str not in kinds and {bool, int, float} & set(kinds):
      raise ValueError(value)
    return value
  is_sequence = isinstance(value, list | tuple) and any(
    typing.get_origin(k) is tuple for k in kinds
  )
  if is_sequence or (isinstance(value, numbers.Real) and {bool, int, float, str} & set(kinds)):
    return read(value, annotation)
  return value


def read(value: object, annotation: object) -> object:
  """`value` as the type `annotation`.

  Raises:
    OutOfRange: it is a number of that type, outside of its range.
    ValueError, SyntaxError: it is of another type.
  """
  choices = alternatives(annotation)
  if value is None or (value in NOTHING and type(None) in choices):
    return None
  choices = tuple(choice for choice in choices if choice is not type(None))
  for choice in choices[:-1]:
    try:
      return _read_one(value, choice)
    except (ValueError, SyntaxError):
      continue
  return _read_one(value, choices[-1])


def _read_one(value: object, annotation: object) -> object:
  kind, within = bare(annotation), range_of(annotation) or FINITE
  if kind is bool:
    return _truth(value)
  if kind in (int, float):
    number = _integer(value) if kind is int else _number(value)
    within.check(number)
    return number
  if kind is str:
    # Python's None, spelled in the place of a text that must be there.
    if not isinstance(value, str) or value == "None":
      raise ValueError(value)
    return value
  if typing.get_origin(kind) is tuple:
    return _entries(value, typing.get_args(kind))
  literal = _literal(value)
  if typing.get_origin(kind) is Mapping and not isinstance(literal, Mapping):
    raise ValueError(value)
  return literal


def _truth(value: object) -> bool:
  if isinstance(value, bool):
    return value
  if not isinstance(value, str) or value.lower() not in TRUTH:
    raise ValueError(value)
  return TRUTH[value.lower()]


def _integer(value: object) -> int:
  """Whole numbers may be spelled as `1e3`."""
  number = _number(value)
  if not float(number).is_integer():
    raise ValueError(value)
  return int(number)


def _number(value: object) -> float:
  if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
    raise ValueError(value)
  return float(value) if isinstance(value, str) else cast(float, value)


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
  try:
    return tuple(read(entry, kind) for entry, kind in zip(value, kinds, strict=True))
  except OutOfRange as error:
    raise OutOfRange(f"hold values that {error}") from error


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
  names: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
  }
  words = []
  for choice in alternatives(annotation):
    choice = bare(choice)
    if typing.get_origin(choice) is tuple:
      inner = [bare(c) for c in typing.get_args(choice) if c is not Ellipsis]
      many = "values" if Ellipsis in typing.get_args(choice) else f"{len(inner)} values"
      words.append(f"{many} such as 0.3,0.8" if float in inner else many)
    else:
      is_mapping = typing.get_origin(choice) is Mapping
      other = "none" if choice is type(None) else "a mapping" if is_mapping else str(choice)
      words.append(names.get(choice, other))
  return " or ".join(words)


def describe_range(annotation: object) -> str:
  """What a number of this type must do, `be at least 1`; empty where it states no range."""
  choices = alternatives(annotation)
  words = [within.words for choice in choices if (within := range_of(choice))]
  for choice in choices:
    if typing.get_origin(choice) is tuple:
      inner = dict.fromkeys(filter(None, map(describe_range, typing.get_args(choice))))
      words += [f"hold values that {words}" for words in inner]
  return " or ".join(words)
