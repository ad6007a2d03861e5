"""Reads JSON that a program wrote and that a person, a crash or a disk may have altered since."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Json, Record

# In words, for messages.
_KINDS = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number"}


def read_object(path: Path, fields: Mapping[str, type] | None = None, *, way_out: str) -> Record:
  """The JSON object in a file.

  Args:
    path: of the file.
    fields: what the object must hold, and of which type; it may hold more.
    way_out: what to do about a damaged file, the last sentence of the message.

  Raises:
    UserError: the file is missing, is not JSON (cut off, not UTF-8) or no object, or lacks a field
      or has it of another type.
  """
  try:
    value = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise UserError(f"{path} is missing. {way_out}") from None
  except ValueError as error:
    raise UserError(f"{path} is not JSON ({_first_line(error)}). {way_out}") from None
  return _checked(value, fields or {}, str(path), way_out)


class Altered(ValueError):
  """A sealed object that is not what was sealed."""


def seal(value: Mapping[str, Json]) -> Record:
  """The object with its checksum, as JSON gives it back."""
  value = json.loads(json.dumps(value))
  return {**value, "checksum": digest(value)}


def unseal(value: Mapping[str, Json]) -> Record:
  """The object without its checksum. Raises `Altered` if that does not fit."""
  content = {name: inner for name, inner in value.items() if name != "checksum"}
  if value["checksum"] != digest(content):
    raise Altered("altered after it was written")
  return content


def digest(value: Json) -> str:
  """SHA-256 of a JSON value, whatever the order of its keys."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_sealed(path: Path, fields: Mapping[str, type] | None = None, *, way_out: str) -> Record:
  """`read_object` of a file that `seal` gave its checksum, without that.

  A file without a checksum, as older versions wrote them, is taken as it is.
  """
  value = read_object(path, fields, way_out=way_out)
  try:
    return unseal(value) if "checksum" in value else value
  except Altered as error:
    raise UserError(f"{path} was {error}. {way_out}") from None


def read_objects(path: Path) -> list[Record | None]:
  """The JSON objects of a file with one a line; None for each line that is none."""
  return parse_objects(path.read_bytes().splitlines())


def parse_objects(lines: Iterable[bytes]) -> list[Record | None]:
  """The JSON object of each line; None for each line that is none."""
  return [_parsed(line) for line in lines]


def _parsed(line: bytes) -> Record | None:
  try:
    value = json.loads(line)
  except ValueError:
    return None
  return value if isinstance(value, dict) else None


def _checked(value: Json, fields: Mapping[str, type], where: str, way_out: str) -> Record:
  if not isinstance(value, dict):
    raise UserError(f"{where} holds {_kind(value)} in the place of an object. {way_out}")
  for name, kind in fields.items():
    if name not in value:
      raise UserError(f"{where} has no field {name!r}. {way_out}")
    if not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is not bool):
      raise UserError(
        f"{where} has {_kind(value[name])} as {name!r}, which must be {_KINDS[kind]}. {way_out}"
      )
  return value


def _kind(value: Json) -> str:
  return _KINDS.get(type(value), json.dumps(value))


def _first_line(error: ValueError) -> str:
  return str(error).splitlines()[0]
