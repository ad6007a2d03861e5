"""Names in a config resolve to modules: `process.name = "absorbing"` is `processes/absorbing.py`.

There is no registry to maintain: a new file in the package is a new name. A module is a choice
when it has the package's entry function (`make`, or `sample` for samplers).
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dlm_jax.core.errors import UserError, nearest


def names(package: str, entry: str = "make") -> list[str]:
  """The names that `package` offers: its modules that define the function `entry`."""
  paths = importlib.import_module(package).__path__
  found = (module.name for module in pkgutil.iter_modules(paths))
  return sorted(n for n in found if hasattr(importlib.import_module(f"{package}.{n}"), entry))


def module(package: str, name: str, entry: str = "make") -> ModuleType:
  """The module `package.name`. Raises `UserError` with the known names when there is none."""
  known = names(package, entry)
  if name not in known:
    kind = package.rsplit(".", 1)[-1]
    raise UserError(
      f"there is no {name!r} in {kind}: {nearest(name, known)}"
      f"The known names are {', '.join(known)}."
    )
  return importlib.import_module(f"{package}.{name}")


def make(package: str, config: Mapping[str, Any], **fields: Any) -> Any:
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
    raise UserError(f"the config of {package.rsplit('.', 1)[-1]} has no 'name': got {config}.")
  return module(package, config.pop("name")).make(**config, **fields)


def build(cls: type, fields: Mapping[str, Any]) -> Any:
  """Builds the dataclass `cls` from `fields`, naming any unknown field and its nearest spelling.

  Fields that are `None` take the default of the class, so that a config can leave a field open.

  Raises:
    UserError: a field is unknown, or one without a default is missing.
  """
  fields_of_class = [f for f in dataclasses.fields(cls) if f.init and not f.metadata.get("runtime")]
  known = {f.name: f for f in fields_of_class}
  given = {name: value for name, value in fields.items() if value is not None}
  for name in fields:
    if name not in known:
      raise UserError(
        f"{cls.__name__} has no field {name!r}: {nearest(name, known)}"
        f"Its fields are {', '.join(known)}."
      )
  required = [n for n, f in known.items() if _is_required(f) and n not in given]
  if required:
    raise UserError(f"{cls.__name__} needs the field {required[0]!r}.")
  return cls(**given)


def runtime() -> Any:
  """A dataclass field that is put in place at run time: `build` neither accepts nor lists it."""
  return dataclasses.field(default=None, metadata={"runtime": True})


def _is_required(field: dataclasses.Field) -> bool:
  missing = dataclasses.MISSING
  return field.default is missing and field.default_factory is missing
