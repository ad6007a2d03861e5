"""The fields that a user may set: of a dataclass, and of each module that a name may choose.

A field knows its type, by which text of the command line is read, its default, what it means, and,
where it holds another part, the family that the part's name is chosen from.
"""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from dlm_jax.core import parsing, ranges, resolve
from dlm_jax.core.errors import UserError, nearest, require_known

# What the parts of a package are built with beside the fields of their config.
BUILT_WITH = {
  "dlm_jax.processes": ("vocab_size",),
  "dlm_jax.networks": ("interface", "num_labels"),
}
# Any vocabulary, where a default is looked up that depends on none.
STAND_IN = {"vocab_size": 27}


class Required:
  """The default of a field that a config must set."""


class Family(Protocol):
  """Parts of which a config names one."""

  @property
  def kind(self) -> str: ...

  def names(self) -> list[str]: ...

  def fields(self, name: str) -> "dict[str, Field]": ...

  def name_of(self, built: object) -> str: ...


@dataclass(frozen=True)
class Field:
  """One field.

  Attributes:
    name: how a config calls it.
    type: its annotation.
    default: what it is where a config says nothing; `Required` if it must be set.
    meaning: one sentence.
    family: where the part that it holds is chosen from; None where it holds a value.
  """

  name: str
  type: object = object
  default: object = Required
  meaning: str = ""
  family: Family | None = None

  @property
  def sentence(self) -> str:
    """What it means and which numbers it takes: `of the whole run. Must be at least 1.`"""
    words = parsing.describe_range(self.type)
    meaning = f"{self.meaning.removesuffix('.')}." if words and self.meaning else self.meaning
    return " ".join(filter(None, (meaning, f"Must {words}." if words else "")))

  def read(self, value: object, where: str) -> object:
    """`value` as this field's type, in its range; text is parsed.

    Raises:
      UserError: it is no such value. `where` is the dotted name that the message gives.
    """
    return parsing.checked(parsing.read, value, self.type, where)

  def accept(self, value: object, where: str) -> object:
    """As `read`, but text stays text: for what has been parsed, or comes from Python."""
    return parsing.checked(parsing.accept, value, self.type, where)


@dataclass(frozen=True)
class Modules:
  """The modules of a package that define `make`."""

  package: str

  @property
  def kind(self) -> str:
    return resolve.kind_of(self.package)

  def names(self) -> list[str]:
    return resolve.names(self.package)

  def fields(self, name: str) -> dict[str, Field]:
    """Keyword arguments of `make`, and the fields of the dataclass that it returns."""
    make = resolve.module(self.package, name).make
    hints = typing.get_type_hints(make, include_extras=True)
    built = hints.get("return")
    meanings = _meanings(make.__doc__, "Args")
    elsewhere = BUILT_WITH.get(self.package, ())
    own = {
      parameter.name: Field(
        parameter.name,
        hints.get(parameter.name, object),
        Required if parameter.default is parameter.empty else parameter.default,
        meanings.get(parameter.name, ""),
      )
      for parameter in inspect.signature(make).parameters.values()
      if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in elsewhere
    }
    of_class = (
      of_dataclass(built) if isinstance(built, type) and dataclasses.is_dataclass(built) else {}
    )
    for field in own.values():
      # An argument of `make` may be a looser form of a field of the class.
      if field.name in of_class:
        known = of_class[field.name]
        of_class[field.name] = dataclasses.replace(
          field,
          type=known.type if field.type in (object, typing.Any) else field.type,
          family=known.family,
          meaning=known.meaning or field.meaning,
        )
      else:
        of_class[field.name] = field
    return {name: field for name, field in of_class.items() if name not in elsewhere}

  def read_source(self, name: str) -> tuple[str, list[Field]]:
    """The docstring of a module, the arguments of its `make` and the fields of what that returns.

    All are read from the source: nothing is imported, as for `--help`. Fields are values, whose
    types are known where they are ranges.
    """
    tree = resolve.source(self.package, name)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    make = functions["make"]
    built = classes[ast.unparse(make.returns)]
    meanings = _meanings(ast.get_docstring(built), "Attributes")
    found = []
    for node in built.body:
      if not isinstance(node, ast.AnnAssign):
        continue
      annotation = ast.unparse(node.annotation)
      if not annotation.startswith("ClassVar"):
        field, kind = ast.unparse(node.target), vars(ranges).get(annotation, object)
        found.append(Field(field, kind, ast.literal_eval(node.value), meanings[field]))
    arguments, meanings = make.args, _meanings(ast.get_docstring(make), "Args")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
      found.append(Field(argument.arg, object, ast.literal_eval(default), meanings[argument.arg]))
    return ast.get_docstring(tree), found

  def name_of(self, built: object) -> str:
    """The name by which a config chooses what has been built."""
    return resolve.name_of(built)

  def default_name(self, name: str, field: str) -> str:
    """The name of the part that the module `name` puts into `field` where a config names none."""
    make, known = resolve.module(self.package, name).make, self.fields(name)[field]
    accepted = inspect.signature(make).parameters
    built = make(**{n: v for n, v in STAND_IN.items() if n in accepted})
    return known.family.name_of(getattr(built, field))


@dataclass(frozen=True)
class Classes:
  """The classes of a module that a config names, such as noise schedules.

  They are those derived from `base`. The module has a function `classes` that returns them by name.
  """

  base: type
  kind: str = "schedule"

  def names(self) -> list[str]:
    return sorted(self._classes())

  def fields(self, name: str) -> dict[str, Field]:
    require_known(self.kind, name, self.names())
    return of_dataclass(self._classes()[name])

  def name_of(self, built: object) -> str:
    """The name by which a config chooses what has been built."""
    (name,) = (name for name, cls in self._classes().items() if cls is type(built))
    return name

  def _classes(self) -> dict[str, type]:
    classes = vars(sys.modules[self.base.__module__])["classes"]()
    return {name: cls for name, cls in classes.items() if issubclass(cls, self.base)}


def of_dataclass(cls: type) -> dict[str, Field]:
  """The fields of a dataclass that a user may set, by name."""
  hints = typing.get_type_hints(cls, include_extras=True)
  meanings: dict[str, str] = {}
  for ancestor in reversed(cls.__mro__):
    meanings |= _meanings(ancestor.__doc__, "Attributes")
  found = {}
  for name, field in resolve.settable(cls).items():
    default = Required if field.default is dataclasses.MISSING else field.default
    if field.default_factory is not dataclasses.MISSING:
      default = field.default_factory()
    package = field.metadata.get("package")
    family = Modules(package) if package else _family(hints[name])
    found[name] = Field(name, hints[name], default, meanings.get(name, ""), family)
  return found


def require_field(part: str, name: str, known: Iterable[str]) -> None:
  """Raises `UserError` unless `name` is a field of `part`."""
  known = list(known)
  if name not in known:
    are = f"Its fields are {', '.join(known)}." if known else "It has no fields."
    raise UserError(f"{part} has no field {name!r}: {nearest(name, known)}{are}")


def _family(annotation: object) -> Family | None:
  """The family of a field whose type is the contract of one: a process, a schedule."""
  for cls in parsing.alternatives(annotation):
    if not isinstance(cls, type):
      continue
    module = sys.modules[cls.__module__]
    if "classes" in vars(module):
      return Classes(cls)
    package, _, last = module.__name__.rpartition(".")
    if last == "base" and package.startswith("dlm_jax."):
      return Modules(package)
  return None


def _meanings(docstring: str | None, section: str) -> dict[str, str]:
  """The entries of a section of a docstring, `name, other: text`, each as one line."""
  match = re.search(rf"\n( *){section}:\n((?:\1 +.*\n|\n(?=\1 ))*)", f"{docstring or ''}\n")
  if not match:
    return {}
  body = textwrap.dedent(match[2]).strip()
  found = {}
  for entry in re.split(r"\n(?=\S)", body):
    names, _, text = entry.partition(":")
    for name in names.split(","):
      found[name.strip().lstrip("*")] = " ".join(text.split())
  return found
