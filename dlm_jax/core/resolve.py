"""Names in a config resolve to modules: `process.name = "absorbing"` is `processes/absorbing.py`.

There is no registry to maintain: a new file in the package is a new name. A module is a choice when
it defines the function `make`. Its source is searched for that function and nothing is imported but
the module that was chosen, so that a broken or heavy sibling breaks only itself.
"""

import ast
import dataclasses
import functools
import importlib
import typing
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from dlm_jax.core import parsing
from dlm_jax.core.errors import UserError, nearest, require_known

T = TypeVar("T")
_SINGULAR = {"processes": "process", "corpora": "corpus", "families": "family"}


def names(package: str) -> list[str]:
  """The names that `package` offers: its modules that define the function `make`."""
  return list(_names(package))


@functools.cache
def _names(package: str) -> tuple[str, ...]:
  roots = importlib.import_module(package).__path__
  files = [path for root in roots for path in Path(root).glob("*.py")]
  return tuple(sorted(path.stem for path in files if _defines_make(path)))


def source(package: str, name: str) -> ast.Module:
  """The syntax of the module `package.name`, which is not imported."""
  (root,) = importlib.import_module(package).__path__
  return ast.parse((Path(root) / f"{name}.py").read_text(encoding="utf-8"))


def _defines_make(path: Path) -> bool:
  """Whether the file defines the function `make`. A file with an error fails when it is chosen."""
  source = path.read_text(encoding="utf-8")
  try:
    body = ast.parse(source).body
  except SyntaxError:
    return "\ndef make(" in source
  return any(isinstance(node, ast.FunctionDef) and node.name == "make" for node in body)


def module(package: str, name: object) -> ModuleType:
  """The module `package.name`. Raises `UserError` with the known names when there is none."""
  require_known(kind_of(package), name, names(package))
  return importlib.import_module(f"{package}.{name}")


def kind_of(package: str) -> str:
  """What a package holds many of, in the singular: `process` for `dlm_jax.processes`."""
  last = package.rsplit(".", 1)[-1]
  return _SINGULAR.get(last, last.removesuffix("s"))


def make(package: str, config: Mapping[str, object], **fields: object) -> Any:
  """Builds what a config such as `{"name": "absorbing", ...}` describes.

  Args:
    package: the dotted package whose modules are the choices.
    config: `name` picks the module; the other entries are its fields.
    **fields: what the config does not hold, such as the size of the vocabulary.

  Raises:
    UserError: `name` is missing or unknown, or a field is.
  """
  config = dict(config)
  if "name" not in config:
    raise UserError(f"the config of the {kind_of(package)} has no 'name': got {config}.")
  return module(package, config.pop("name")).make(**config, **fields)


def runtime(default: T = None) -> T:
  """A dataclass field that is put in place at run time: `build` neither accepts nor lists it."""
  return dataclasses.field(default=default, metadata={"runtime": True})


def part(package: str) -> Any:
  """A dataclass field that holds the config of a module of `package`: its `name` and its fields."""
  return dataclasses.field(metadata={"package": package})


def settable(cls: type) -> dict[str, dataclasses.Field]:
  """The fields of a dataclass that a user may set, by name."""
  fields = dataclasses.fields(cls)
  return {f.name: f for f in fields if f.init and not f.metadata.get("runtime")}


def build(cls: type[T], fields: Mapping[str, object]) -> T:
  """Builds the dataclass `cls` from `fields`, naming any unknown field and its nearest spelling.

  Fields that are `None` take the default of the class, so that a config can leave a field open.
  A number is held against the range that its field states, see `ranges`.

  Raises:
    UserError: a field is unknown, one without a default is missing, or a value is of another type
      or out of its range.
  """
  known = settable(cls)
  given = {name: value for name, value in fields.items() if value is not None}
  for name in fields:
    if name not in known:
      raise UserError(
        f"{cls.__name__} has no field {name!r}: {nearest(name, known)}"
        f"Its fields are {', '.join(known)}."
      )
  required = [n for n, f in known.items() if is_required(f) and n not in given]
  if required:
    raise UserError(
      f"{cls.__name__} needs the field {required[0]!r}, which has no default: set it."
    )
  hints = _hints(cls)
  return cls(
    **{
      name: parsing.checked(parsing.accept, value, hints[name], f"{cls.__name__}.{name}")
      for name, value in given.items()
    }
  )


def require_ranges(settings: object, prefix: str = "") -> None:
  """Raises `UserError` where a field of a dataclass that is not made by `build` is out of range.

  Args:
    settings: the dataclass, from its `__post_init__`.
    prefix: what the message writes before the name of a field.
  """
  for name, hint in _hints(type(settings)).items():
    if name in vars(settings):
      parsing.checked(parsing.accept, vars(settings)[name], hint, f"{prefix}{name}")


def _hints(cls: type) -> dict[str, object]:
  return typing.get_type_hints(cls, include_extras=True)


def name_of(part: object) -> str:
  """The name by which a config chooses `part`: that of the module which made it."""
  return type(part).__module__.rpartition(".")[2]


def is_required(field: dataclasses.Field) -> bool:
  """Whether a dataclass cannot be built without the field: it has no default."""
  missing = dataclasses.MISSING
  return field.default is missing and field.default_factory is missing
