"""A config file and the fields given on the command line become the config of an experiment.

Every field of every part can be given, whether or not the file mentions it: `--config.a.b=value`
is read as the type of that field. A part whose `name` is given is replaced: the new one starts from
its own defaults and keeps what the file sets and it knows as well. What was dropped and what was
left to defaults then stands in `config.replaced`.
"""

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

from ml_collections import ConfigDict

from dlm_jax import experiment
from dlm_jax.core import storage
from dlm_jax.core.errors import UserError, nearest, require_known
from dlm_jax.core.fields import Family, Field, Modules, of_dataclass, require_field
from dlm_jax.core.ranges import Range, Seed
from dlm_jax.core.types import Fields
from dlm_jax.data.preparation import DataConfig
from dlm_jax.distributed.mesh import AXES
from dlm_jax.processes.parts.times import Times
from dlm_jax.training.config import CheckpointConfig, EvaluationConfig, TrainingConfig
from dlm_jax.training.distillation import DistillationConfig
from dlm_jax.training.optimizer import OptimizerConfig

ROOT = Path(__file__).parent.parent
REPLACED = "replaced"
DATACLASSES: dict[str, type] = {
  "data": DataConfig,
  "times": Times,
  "optimizer": OptimizerConfig,
  "training": TrainingConfig,
  "distillation": DistillationConfig,
  "evaluation": EvaluationConfig,
  "checkpoint": CheckpointConfig,
}
FAMILIES = {"process": Modules("dlm_jax.processes"), "network": Modules("dlm_jax.networks")}
VALUES = {
  "seed": Field("seed", Seed, 0, "The seed that every random draw derives from."),
  "wandb_project": Field("wandb_project", str, "", "Project of Weights & Biases; empty is none."),
}
AxisSize = Annotated[int, Range(at_least=-1)]
MESH = {
  axis: Field(
    axis, AxisSize, 1, f"How many devices lie along the axis {axis}; -1 is all that are left."
  )
  for axis in AXES
}


def load(path: str, assignments: Fields | None = None) -> ConfigDict:
  """The config of `path`, with fields given otherwise.

  Args:
    path: a Python file with `get_config`, and its argument: `configs/text8.py:mdlm,preset=tiny`.
    assignments: values, or text that is read as one, by dotted name such as `process.name`.

  Raises:
    UserError: there is no such file or method, or a name, field or value is wrong.
  """
  return override(read(path), assignments or {})


def read(path: str) -> ConfigDict:
  """What `get_config` of a config file returns. Raises `UserError` as `load` does."""
  file, _, argument = path.partition(":")
  get_config = vars(_module(file)).get("get_config")
  if get_config is None:
    raise UserError(
      f"the config file {file!r} has no function get_config: name another, or add it."
    )
  if argument and not inspect.signature(get_config).parameters:
    raise UserError(f"the config file {file!r} takes no argument: leave out {f':{argument}'!r}.")
  try:
    return get_config(*([argument] if argument else []))
  except ValueError as error:
    raise UserError(str(error)) from error


def _module(file: str) -> ModuleType:
  path = storage.expand(file)
  if not path.exists():
    path = ROOT / file  # where the current directory is another one
  if path.is_dir():
    files = ", ".join(sorted(p.name for p in path.glob("*.py"))) or "no Python file"
    raise UserError(f"{file!r} is a directory, and --config names a file: it holds {files}.")
  if not path.is_file():
    known = {Path(corpus).stem: corpus for corpus in corpora()}
    raise UserError(
      f"there is no config file {file!r}: {nearest(path.stem, known)}A config is a corpus and a "
      f"method, as in {known['stdlib_docs']}:absorbing; the corpora are {', '.join(corpora())}."
    )
  if path.suffix != ".py":
    raise UserError(f"the config file {file!r} is no Python file: name one of configs/.")
  if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # configs import their siblings
  spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except (SyntaxError, ImportError) as error:
    raise UserError(f"the config file {file!r} cannot be read: {error}.") from error
  return module


def corpora() -> list[str]:
  """The config files that there are, one a corpus."""
  files = sorted((ROOT / "configs").glob("*.py"))
  return [f"configs/{file.name}" for file in files if "\ndef corpus(" in file.read_text("utf-8")]


def override(config: ConfigDict | Fields, assignments: Fields) -> ConfigDict:
  """`config` with `assignments`, each part resolved against the fields that it has.

  Raises:
    UserError: an unknown section, name or field, or a value of another type.
  """
  given = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
  changes = nest(assignments)
  resolver = _Resolver({entry["part"]: entry for entry in given.pop(REPLACED, None) or ()})
  for name in [*given, *changes]:
    require_known("section of the config", name, sections())
  made = {name: resolver.section(name, given.get(name), changes.get(name)) for name in sections()}
  made["evaluation"]["process"] = resolver.scored(given, changes, made["process"]["name"])
  if resolver.replaced:
    made[REPLACED] = tuple(resolver.replaced.values())
  return ConfigDict(made)


def sections() -> list[str]:
  """The sections of a config that a user may set."""
  return [name for name in experiment.SECTIONS if name != REPLACED]


def fields_of(section: str) -> dict[str, Field]:
  """The fields of a section that is no part chosen by name."""
  return dict(MESH) if section == "mesh" else of_dataclass(DATACLASSES[section])


def replacements(config: ConfigDict) -> list[str]:
  """A sentence for each part that took the place of the one in the file."""
  sentences = []
  for entry in config.get(REPLACED) or ():
    words = [f"config.{entry['part']}: {entry['name']} in the place of {entry['was']}"]
    words += [f"dropped {', '.join(entry['dropped'])}"] if entry["dropped"] else []
    words += [f"at their defaults {', '.join(entry['defaults'])}"] if entry["defaults"] else []
    sentences.append("; ".join(words))
  return sentences


def nest(assignments: Fields) -> dict[str, object]:
  """`{"a.b": 1}` as `{"a": {"b": 1}}`; text in the place of a part is the part's name."""
  nested: dict[str, object] = {}
  for dotted, value in assignments.items():
    *parents, last = dotted.split(".")
    section = nested
    for parent in parents:
      inner = section.get(parent, {})
      section[parent] = dict(inner) if isinstance(inner, Mapping) else {"name": inner}
      section = section[parent]
    if isinstance(section.get(last), Mapping) and not isinstance(value, Mapping):
      value = {**section[last], "name": value}
    section[last] = value
  return nested


@dataclass(frozen=True)
class _Resolver:
  """Fills sections with what the file sets and what is given over it, and notes replacements.

  Attributes:
    replaced: by the dotted name of a part: its old and new name, the fields that were dropped, and
      those of the new one that are left to their defaults.
  """

  replaced: dict[str, Fields]

  def section(self, name: str, old: object, change: object) -> object:
    if name in VALUES:
      value = change if change is not None else old
      return VALUES[name].default if value is None else VALUES[name].read(value, f"config.{name}")
    old = dict(old or {})
    if name in FAMILIES:
      return self.part(FAMILIES[name], old, change, name)
    change = _section(change, name)
    fields = fields_of(name)
    if name == "evaluation":  # what it sets of the process is resolved after the process
      for there in (old, change, fields):
        there.pop("process", None)
    return self.fill(fields, old, change, name)

  def scored(self, given: Fields, changes: Fields, process: str) -> Fields:
    """`evaluation.process`: fields of the process, set otherwise where a bound is estimated."""
    old = dict((given.get("evaluation") or {}).get("process") or {})
    change = _section((changes.get("evaluation") or {}).get("process"), "evaluation.process")
    fields = FAMILIES["process"].fields(process)
    if "process" in self.replaced:
      old = {name: value for name, value in old.items() if name in fields}
    return self.fill(fields, old, change, "evaluation.process")

  def part(self, family: Family, old: object, change: object, where: str) -> dict[str, object]:
    """The config of a part that is chosen by its name."""
    old, change = (_named(value) for value in (old, change))
    former = old.pop("name", None)
    name = change.pop("name", former)
    if not isinstance(name, str):
      raise UserError(f"config.{where} needs a name: it is one of {', '.join(family.names())}.")
    require_known(f"config.{where}.name", name, family.names())
    fields = family.fields(name)
    if former is None or name == former:
      return {"name": name} | self.fill(fields, old, change, where, (family, name))
    kept = _kept(fields, old)
    made = {"name": name} | self.fill(fields, kept, change, where, (family, name))
    self.replaced[where] = {
      "part": where,
      "was": former,
      "name": name,
      "dropped": tuple(sorted(old.keys() - kept.keys())),
      "defaults": tuple(sorted(fields.keys() - made.keys())),
    }
    return made

  def fill(
    self,
    fields: Mapping[str, Field],
    old: Fields,
    change: Fields,
    where: str,
    owner: tuple[Family, str] | None = None,
  ) -> dict[str, object]:
    """The fields that the file or the command line sets, each of its type; None leaves it open."""
    made: dict[str, object] = {}
    for name in dict.fromkeys([*old, *change]):
      require_field(f"config.{where}{f' ({owner[1]})' if owner else ''}", name, fields)
      field, dotted = fields[name], f"{where}.{name}"
      before, after = old.get(name), change.get(name)
      if field.family is None:
        if isinstance(after, Mapping):
          after = {**(before or {}), **after}
        value = after if name in change else before
        if value is not None:
          value = field.read(value, f"config.{dotted}")
      else:
        if before is None and owner and "name" not in _named(after):
          before = {"name": owner[0].default_name(owner[1], name)}
        value = self.part(field.family, before, after, dotted)
      if value is not None:
        made[name] = value
    return made


def _kept(fields: Mapping[str, Field], old: Fields) -> dict[str, object]:
  """What another part's config holds that a part with these `fields` knows as well."""
  kept = {}
  for name, value in old.items():
    family = fields[name].family if name in fields else None
    if family is not None:
      inner = _named(value)
      if inner.get("name") not in family.names():
        continue
      known = family.fields(inner["name"])
      value = {"name": inner.pop("name")} | _kept(known, inner)
    if name in fields:
      kept[name] = value
  return kept


def _named(value: object) -> dict[str, object]:
  """The config of a part; text is its name."""
  if value is None:
    return {}
  return dict(value) if isinstance(value, Mapping) else {"name": value}


def _section(change: object, name: str) -> dict[str, object]:
  if change is None:
    return {}
  if not isinstance(change, Mapping):
    raise UserError(f"config.{name} is a section: set its fields, as --config.{name}.<field>=...")
  return dict(change)
