"""The command line: flags from a dataclass of settings, `--help`, and a user's mistakes.

A command is a dataclass of settings and a function of it:

  if __name__ == "__main__":
    command_line.run("dlm_jax.evaluation.bound", EvaluateSettings)

The work is `main` of that module, which is imported once the flags are read: neither `--help` nor a
mistyped flag waits for JAX, which no module of settings imports.

Each field of the dataclass is a flag. Its name, type and default are those of the field; its help
is what the docstring of the class says of it under `Attributes:`. A field `part_settings` whose
metadata holds `nested` collects, as texts, the settings of the part that the field `part` names:
`--part.setting=value`. A mistake of the user is reported as one sentence, with exit code 2.
"""

import dataclasses
import importlib
import sys
import textwrap
import types
import typing
from collections.abc import Callable
from typing import Literal, TypeVar

import ml_collections
from absl import app, flags, logging

from dlm_jax import config_line
from dlm_jax.core import faults, resolve
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.exit_codes import INTERRUPTED, MISTAKE, RESUMABLE
from dlm_jax.core.fields import of_dataclass
from dlm_jax.distributed import allocator

_WIDTH = 100

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterSettings:
  """Where the processes of a run meet.

  Attributes:
    coordinator: host:port of process 0. Needed where neither Slurm nor a TPU or GPU cluster tells.
    num_processes: number of processes, with --coordinator.
    process_id: number of this process, from 0, with --coordinator.
  """

  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None


# The part of the command line that belongs to a part with settings of its own: `--sampler.eta=1`.
_nested: dict[str, dict[str, str]] = {}


def run(
  main: str | Callable[..., int | None],
  settings: type | None = None,
  *,
  distributed: bool = False,
  stoppable: bool = False,
  notes: Callable[[], str] | None = None,
) -> None:
  """Parses the flags and ends the process with what `main` returns.

  Libraries report warnings and errors, and more with `--verbosity`.

  Args:
    main: what the command does, or the module whose `main` does it: `main(settings)`, or `main()`
      where `settings` is None.
    settings: a dataclass whose fields are the flags of the command.
    distributed: several processes may run the command together: the others are found first and
      waited for at the end.
    stoppable: see `cluster.start`.
    notes: text that `--help` prints last.
  """
  if settings is not None:
    _define(settings)
  if distributed:
    _define(ClusterSettings)

  def reported(_: list[str]) -> int | None:
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)
    allocator.keep_freed_memory()
    try:
      arguments = () if settings is None else (_read(settings),)
      from dlm_jax.distributed import compiled_programs, platform  # noqa: PLC0415  they bring JAX

      compiled_programs.keep_compiled_programs()
      platform.dispatch_one_step_at_a_time()
      work = importlib.import_module(main).main if isinstance(main, str) else main
      return _together(work, arguments, stoppable) if distributed else work(*arguments)
    except UserError as error:
      return _report(error)
    except KeyboardInterrupt as stop:
      code = RESUMABLE if stoppable else INTERRUPTED
      return _report(f"stopped by Ctrl-C{f': {stop}' if str(stop) else ''}.", code)
    except Exception as error:
      fault = faults.explain(error)
      if fault is None:
        raise
      return _report(fault)

  def parse(argv: list[str]) -> list[str]:
    if settings is not None and {"--help", "-h", "-help", "--helpfull"} & set(argv):
      parts = [settings] + [ClusterSettings] * distributed
      print(help_text(sys.modules["__main__"].__doc__ or "", parts, notes))
      sys.exit(0)
    return _parse(argv, settings)

  app.run(reported, flags_parser=parse)


def _together(work: Callable[..., int | None], arguments: tuple, stoppable: bool) -> int | None:
  """What `work` returns once all processes of the run have met, and when all have done it."""
  from dlm_jax.distributed import cluster  # noqa: PLC0415  it brings JAX

  place = (flags.FLAGS[name].value for name in ("coordinator", "num_processes", "process_id"))
  cluster.start(*place, stoppable=stoppable)
  code = work(*arguments)
  cluster.barrier("the end")
  return code


def help_text(docstring: str, parts: list[type], notes: Callable[[], str] | None = None) -> str:
  """What `--help` prints: the docstring of the command, its flags by part, and the notes."""
  lines = [docstring.strip(), "", "Flags:"]
  for part in parts:
    known = of_dataclass(part)
    for field in dataclasses.fields(part):
      lines.append(f"  --{_usage(part, field)}")
      lines += textwrap.wrap(
        _sentence(known[field.name].sentence) + _default(field),
        _WIDTH,
        initial_indent=" " * 6,
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
      )
  if any(kind is ml_collections.ConfigDict for kind in typing.get_type_hints(parts[0]).values()):
    lines.append("  --show_config")
    lines.append("      Print every field of the config, its value and its meaning, and end.")
  if notes is not None:
    lines += ["", notes()]
  return "\n".join(lines)


def _define(settings: type) -> None:
  """A flag for each field of the dataclass, None where the command line does not set it."""
  hints, known = typing.get_type_hints(settings), of_dataclass(settings)
  for field in dataclasses.fields(settings):
    kind, text = _kind(hints[field.name]), known[field.name].meaning
    if kind is ml_collections.ConfigDict:
      config_line.define()
    elif field.metadata.get("nested"):
      continue
    elif typing.get_origin(kind) is Literal:
      flags.DEFINE_enum(field.name, None, list(typing.get_args(kind)), text)
    elif typing.get_origin(kind) is tuple:
      flags.DEFINE_list(field.name, None, text)
    else:
      define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
      }
      define[kind](field.name, None, text)


def _read(settings: type[Settings]) -> Settings:
  """The settings that the flags describe. Raises `UserError` where a required one is missing."""
  hints, known = typing.get_type_hints(settings), of_dataclass(settings)
  values: dict[str, object] = {}
  for field in dataclasses.fields(settings):
    kind = _kind(hints[field.name])
    if kind is ml_collections.ConfigDict:
      from dlm_jax import config_flags  # noqa: PLC0415  it brings JAX

      values[field.name] = config_flags.from_flags()
    elif field.metadata.get("nested"):
      values[field.name] = dict(_nested.get(_part(field), {}))
    elif flags.FLAGS[field.name].value is not None:
      value = _converted(field.name, kind, flags.FLAGS[field.name].value)
      values[field.name] = known[field.name].accept(value, f"--{field.name}")
    elif resolve.is_required(field):
      raise UserError(f"--{field.name} is missing: {known[field.name].meaning}")
  return settings(**values)


def _converted(name: str, kind: object, value: object) -> object:
  """A list of texts as a tuple of what its type says; anything else as it is."""
  if typing.get_origin(kind) is not tuple:
    return value
  item = typing.get_args(kind)[0]
  try:
    return tuple(item(text) for text in value)
  except ValueError:
    raise UserError(
      f"--{name} is a list of {item.__name__}s with commas between them, got {','.join(value)!r}."
    ) from None


def _kind(hint: object) -> object:
  """The type of a field, without `| None`."""
  if typing.get_origin(hint) in (types.UnionType, typing.Union):
    (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
  return hint


def _part(field: dataclasses.Field) -> str:
  return field.name.removesuffix("_settings")


def _usage(settings: type, field: dataclasses.Field) -> str:
  """The name of a flag and the form of its value: `[no]labels`, `weights=ema|raw`."""
  kind = _kind(typing.get_type_hints(settings)[field.name])
  if field.metadata.get("nested"):
    return f"{_part(field)}.SETTING=VALUE"
  if kind is bool:
    return f"[no]{field.name}"
  if typing.get_origin(kind) is Literal:
    return f"{field.name}={'|'.join(typing.get_args(kind))}"
  if typing.get_origin(kind) is tuple:
    return f"{field.name}={typing.get_args(kind)[0].__name__},..."
  return f"{field.name}={'PATH' if kind is ml_collections.ConfigDict else kind.__name__}"


def _sentence(text: str) -> str:
  text = text[:1].upper() + text[1:]
  return text if not text or text.endswith(".") else f"{text}."


def _default(field: dataclasses.Field) -> str:
  if resolve.is_required(field):
    return " Required."
  if field.default in (None, "", ()) or field.default is dataclasses.MISSING:
    return ""
  value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
  return f" Default: {str(value).lower() if isinstance(value, bool) else value}."


def _parse(argv: list[str], settings: type | None = None) -> list[str]:
  try:
    argv = config_line.rewrite(_without_nested(argv, settings))
    if config_line.is_shown(argv):
      from dlm_jax import config_flags  # noqa: PLC0415  it brings JAX

      config_flags.show(argv)
      sys.exit(0)
    rest = flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    names = [*flags.FLAGS, *(f"{_part(field)}." for field in _nested_fields(settings))]
    sys.exit(
      _report(f"there is no flag --{error.flagname}: {nearest(error.flagname, names)}See --help.")
    )
  except flags.Error as error:
    sys.exit(_report(str(error).strip().splitlines()[-1].strip()))
  except UserError as error:
    sys.exit(_report(error))
  if len(rest) > 1:
    sys.exit(_report(f"unknown argument {rest[1]!r}: every argument is a flag, see --help."))
  return rest


def _without_nested(argv: list[str], settings: type | None) -> list[str]:
  """The arguments without those of nested settings, which go to `_nested`."""
  parts = [_part(field) for field in _nested_fields(settings)]
  rest = []
  for argument in argv:
    name, equals, value = argument.removeprefix("--").partition("=")
    part, dot, setting = name.partition(".")
    if not (argument.startswith("--") and dot and part in parts):
      rest.append(argument)
    elif not (equals and setting):
      sys.exit(_report(f"{argument} needs a value: write it as --{name}=VALUE."))
    else:
      _nested.setdefault(part, {})[setting] = value
  return rest


def _nested_fields(settings: type | None) -> list[dataclasses.Field]:
  fields = dataclasses.fields(settings) if settings is not None else ()
  return [field for field in fields if field.metadata.get("nested")]


def _report(sentence: object, code: int = MISTAKE) -> int:
  print(f"error: {sentence}", file=sys.stderr)
  return code
