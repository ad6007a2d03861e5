"""The directory of a run: its lock, its config, and the environment it ran in.

<workdir>/
  .lock             held while a run writes here; the kernel frees it when the process dies
  config.json       the resolved config
  dataset.json      of the training data: its hash, the tokenizer and what sampling needs to know
  environment.json  git revision, package versions, devices, dataset hash
  history.jsonl     one line a start: the config and the environment of that start
  checkpoints/
"""

import dataclasses
import fcntl
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Self, TextIO

import ml_collections

from dlm_jax.core import storage
from dlm_jax.core.dotted import dotted
from dlm_jax.core.errors import UserError
from dlm_jax.core.storage import write_json
from dlm_jax.core.types import Fields, Json
from dlm_jax.distributed import cluster
from dlm_jax.runs.provenance import environment

# What a resumed run may change, as prefixes of dotted names: how long it runs, what it reports and
# where it runs, never what it computes.
CHANGEABLE = (
  "training.steps",
  "training.log_every",
  "training.evaluate_every",
  "checkpoint",
  "data.directory",
  "data.workers",
  "evaluation.rows",
  "evaluation.samples",
  "evaluation.batch_size",
  "mesh",
  "wandb_project",
  "replaced",  # how the config came about
)

_ABSENT = "(absent)"

# Raise it when the files of a workdir, or the names in its checkpoints, come to mean other things.
LAYOUT = 2
_DATASET = "dataset.json"


@dataclasses.dataclass(frozen=True)
class Workdir:
  """The opened directory of a run. A context manager: leaving it frees the lock."""

  path: pathlib.Path  # in the local cache where the directory is remote
  lock: TextIO | None  # None on every process but the first
  mirror: storage.Mirror

  @property
  def checkpoints(self) -> str:
    return checkpoints(self.mirror.path)

  def publish(self) -> None:
    """Copies the record of the run to where the directory is, if that is remote."""
    if self.lock is not None:
      self.mirror.push()

  def close(self) -> None:
    if self.lock is not None:
      self.lock.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()


def open_workdir(
  path: str | os.PathLike, config: Fields, *, dataset: Mapping[str, Json]
) -> Workdir:
  """Locks the directory of a run, made if absent, and records how this run was started.

  Of a remote directory (see `dlm_jax.core.storage`) it is the local cache that is locked: nothing
  keeps a process of another machine out.

  Every process of the run calls it; the first one does the work. A start that is refused changes
  nothing of what is there.

  Args:
    path: the directory.
    config: the resolved config, with values that JSON can hold.
    dataset: what a model needs of the data when the data is not there, with its `hash`; see
      `data.store.Store.description`.

  Raises:
    UserError: another process runs here; or what is here came from other data, from another version
      of this project, or from a config that differs in more than `CHANGEABLE`.
  """
  mirror = _mirror(path)
  path = mirror.local.absolute()
  lock = cluster.on_first(
    lambda: _open_first(path, mirror, plain(config), dict(dataset)), "the workdir"
  )
  return Workdir(path, lock, mirror)


def checkpoints(workdir: str | os.PathLike) -> str:
  """Where the checkpoints of a run are: with it, wherever that is, and never in the cache."""
  return f"{str(workdir).removeprefix('file://').rstrip('/')}/checkpoints"


def _mirror(workdir: str | os.PathLike) -> storage.Mirror:
  return storage.Mirror(str(workdir), left_out=("checkpoints", ".lock"))


def read_config(workdir: str | os.PathLike) -> ml_collections.ConfigDict:
  """The config of the run in `workdir`. Its sequences are tuples, as hashable as configs need.

  Raises:
    UserError: there is no run.
  """
  path = _mirror(workdir).get("config.json")
  if not path.exists():
    raise UserError(f"there is no run in {workdir} (no config.json): train first, or see to it.")
  return ml_collections.ConfigDict(_with_tuples(json.loads(path.read_text())))


def read_dataset(workdir: str | os.PathLike) -> dict[str, Json]:
  """What the run in `workdir` recorded of its data, see `open_workdir`.

  Raises:
    UserError: the run is of a version of this project with another layout of the workdir.
  """
  return _parse_dataset(workdir, _mirror(workdir).get(_DATASET))


def _parse_dataset(workdir: str | os.PathLike, path: pathlib.Path) -> dict[str, Json]:
  dataset = json.loads(path.read_text()) if path.exists() else {}
  if dataset.get("layout") != LAYOUT:
    found = f"layout {dataset['layout']}" if dataset else f"no {_DATASET}"
    raise UserError(
      f"the run in {workdir} is of another version of dlm_jax ({found}; this version reads layout "
      f"{LAYOUT}), so its checkpoints cannot be loaded: check out the git revision named in its "
      "environment.json, or train again in another --workdir."
    )
  return dataset


def write_record(workdir: str | os.PathLike, name: str, record: Json) -> pathlib.Path:
  """Writes a record about a run into its directory, as the file `name`, and returns where it is."""
  mirror = _mirror(workdir)
  path = mirror.local / name
  path.parent.mkdir(exist_ok=True)
  write_json(path, record)
  mirror.put(path)
  return path


def _open_first(
  path: pathlib.Path, mirror: storage.Mirror, config: dict[str, Json], dataset: dict[str, Json]
) -> TextIO:
  try:
    path.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
  except OSError as error:
    raise UserError(f"cannot write to the workdir {path} ({error}): give another.") from error
  try:
    mirror.pull()  # under the lock: the cache may be that of a run under way
    _require_same_run(path, config, dataset["hash"])
    here = environment(dataset["hash"])
    with (path / "history.jsonl").open("a") as file:
      file.write(json.dumps({"config": config, "environment": here}) + "\n")
    write_json(path / "environment.json", here)
    write_json(path / _DATASET, {"layout": LAYOUT, **dataset})
    write_json(path / "config.json", config)
    mirror.push()
  except BaseException:
    lock.close()
    raise
  return lock


def _lock(path: pathlib.Path) -> TextIO:
  # Opened to append: a process that is refused must not erase the holder's number.
  file = (path / ".lock").open("a+")
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.seek(0)
    holder = file.read().strip() or "unknown"
    file.close()
    raise UserError(
      f"the workdir {path} is in use by process {holder}: wait for it, stop it, or give another "
      "--workdir."
    ) from None
  file.truncate(0)
  file.write(f"{os.getpid()}\n")
  file.flush()
  return file


def _require_same_run(path: pathlib.Path, config: dict[str, Json], dataset_hash: str) -> None:
  if not (path / "config.json").exists():
    return
  before = _parse_dataset(path, path / _DATASET)["hash"]
  old, new = dotted(json.loads((path / "config.json").read_text())), dotted(config)
  changed = [
    f"{name}: {old.get(name, _ABSENT)} -> {new.get(name, _ABSENT)}"
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name) and not _changeable(name)
  ]
  if changed:
    raise UserError(
      f"the run in {path} has another config: {'; '.join(changed)}. Undo the change to resume it, "
      "or give another --workdir to start a new run."
    )
  if before != dataset_hash:
    raise UserError(
      f"the run in {path} was trained on other data: its hash was {before}, now {dataset_hash}. "
      "Bring the data back to resume it, or give another --workdir to start a new run."
    )


def _changeable(name: str) -> bool:
  return any(name == prefix or name.startswith(f"{prefix}.") for prefix in CHANGEABLE)


def plain(config: Fields | ml_collections.ConfigDict) -> dict[str, Json]:
  """The config as it will come back from JSON: plain dicts, and lists for tuples."""
  if isinstance(config, ml_collections.ConfigDict):
    config = config.to_dict()
  return json.loads(json.dumps(config))


def _with_tuples(value: Json) -> object:
  if isinstance(value, dict):
    return {key: _with_tuples(inner) for key, inner in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
