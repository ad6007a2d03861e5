"""A schedule is a class, and its name in a config is that of the class in snake case."""

import re
from collections.abc import Mapping
from typing import TypeVar, cast

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.types import Fields

T = TypeVar("T")


def by_name(
  namespace: Mapping[str, object],
  interface: type[T],
  hidden: tuple[type, ...] = (),
  suffix: str = "",
) -> dict[str, type[T]]:
  """The classes in a module's `namespace` that implement `interface`, by name in snake case.

  Args:
    namespace: `globals()` of the module.
    interface: what a schedule derives from; it is none itself.
    hidden: classes that only others derive from.
    suffix: the end of every class name, which is no part of the name in a config.
  """
  found = [c for c in namespace.values() if isinstance(c, type) and issubclass(c, interface)]
  return {
    re.sub(r"(?<!^)(?=[A-Z])", "_", c.__name__.removesuffix(suffix)).lower(): c
    for c in found
    if c not in (interface, *hidden)
  }


def build(kind: str, config: object, known: Mapping[str, type[T]]) -> T:
  """Builds the schedule of the name in `config` from the other fields.

  Raises:
    UserError: the name or a field is unknown, or a value is out of range.
  """
  if isinstance(config, str):
    raise UserError(
      f"a {kind} is given by its name and its fields, as in {{'name': 'linear'}}: got {config!r}."
    )
  fields = dict(cast(Fields, config))  # a ConfigDict is no Mapping
  name = fields.pop("name", None)
  require_known(kind, name, sorted(known))
  return resolve.build(known[str(name)], fields)
