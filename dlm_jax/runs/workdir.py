"""The directory of a run: its lock, its config, and the environment it ran in.

<workdir>/
  .lock             held while a run writes here; the kernel frees it when the process dies
  config.json       the resolved config
  dataset.json      of the training data: its hash, the tokenizer and what sampling needs to know
  environment.json  git revision, package versions, devices, dataset hash
  history.jsonl     one line a start: the config and the environment of that start, the checkpoint
                    that was the newest and what of its config is changed
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
from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import writing
from dlm_jax.core.json_files import read_object, read_sealed, seal
from dlm_jax.core.storage import write_json
from dlm_jax.core.types import Fields, Json, Record
from dlm_jax.distributed import cluster
from dlm_jax.runs import checkpoint, config_changes
from dlm_jax.runs.provenance import environment
from dlm_jax.runs.record import Metadata

# Raise it when the files of a workdir, or the names in its checkpoints, come to mean other things.
LAYOUT = 2
_CONFIG = "config.json"
_DATASET = "dataset.json"
_BRING_BACK = "Bring the file back from a copy of the workdir, or train again in another --workdir."


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
  nothing of what is there. Where there is no checkpoint yet, any config and any data are taken.

  Args:
    path: the directory.
    config: the resolved config, with values that JSON can hold.
    dataset: what a model needs of the data when the data is not there, with its `hash`; see
      `data.store.Store.description`.

  Raises:
    UserError: another process runs here; or the checkpoints here came from other data, from another
      version of this project, or from a config that differs in more than a resumed run may change,
      see `config_changes`.
  """
  mirror = _mirror(path)
  path = mirror.local.absolute()
  lock = cluster.on_first(
    lambda: _open_first(path, mirror, plain(config), dict(dataset)), "the workdir"
  )
  return Workdir(path, lock, mirror)


def require_resumable(path: str | os.PathLike, config: Fields) -> None:
  """Raises `UserError` where the newest checkpoint here came from another config; changes nothing.

  `open_workdir` says so too, under the lock; this can be asked before data is prepared.
  """
  mirror, directory = _mirror(path), checkpoints(path)
  saved = checkpoint.newest_metadata(directory) if checkpoint.steps(directory) else None
  if saved is not None:
    _require_config(mirror.local.absolute(), directory, saved, plain(config))


def checkpoints(workdir: str | os.PathLike) -> str:
  """Where the checkpoints of a run are: with it, wherever that is, and never in the cache."""
  path = str(workdir).removeprefix("file://").rstrip("/")
  return f"{path if storage.is_remote(path) else storage.expand(path)}/checkpoints"


def _mirror(workdir: str | os.PathLike) -> storage.Mirror:
  return storage.Mirror(str(workdir), left_out=("checkpoints", ".lock"))


def read_config(workdir: str | os.PathLike, step: int | None = None) -> ml_collections.ConfigDict:
  """The config of the run in `workdir`. Its sequences are tuples, as hashable as configs need.

  Where there is a checkpoint, it is the one that this was saved under, and config.json may differ
  from it only in what a resumed run may change. Of that, `data.directory` is taken from
  config.json, so that the data can be moved.

  Args:
    workdir: the directory.
    step: which checkpoint; None is the newest whose record can be read.

  Raises:
    UserError: there is no run, its config.json is damaged, or it is not that of the checkpoint.
  """
  path = _mirror(workdir).get(_CONFIG)
  if not path.exists():
    raise UserError(
      f"there is no run in {workdir} (no {_CONFIG}): train it first, or give another directory."
    )
  config = read_object(path, way_out=_BRING_BACK)
  saved = checkpoint.newest_metadata(checkpoints(workdir), step)
  if saved is not None:
    config_changes.require_same(
      saved["config"],
      config,
      f"{path} is not the config that the checkpoint of step {saved['step']} was saved under",
      f"Undo the change in {_CONFIG}.",
    )
    moved = {n: v for n, v in config.get("data", {}).items() if n == "directory"}
    config = {**saved["config"], "data": {**saved["config"].get("data", {}), **moved}}
  return ml_collections.ConfigDict(_with_tuples(config))


def read_dataset(workdir: str | os.PathLike) -> Record:
  """What the run in `workdir` recorded of its data, see `open_workdir`.

  Raises:
    UserError: the run is of a version of this project with another layout of the workdir, or what
      it recorded is damaged.
  """
  return _parse_dataset(workdir, _mirror(workdir).get(_DATASET))


def _parse_dataset(workdir: str | os.PathLike, path: pathlib.Path) -> Record:
  dataset = read_sealed(path, way_out=_BRING_BACK) if path.exists() else {}
  if dataset.get("layout") != LAYOUT:
    found = f"layout {dataset.get('layout')}" if dataset else f"no {_DATASET}"
    raise UserError(
      f"the run in {workdir} is of another version of dlm_jax ({found}; this version reads layout "
      f"{LAYOUT}), so its checkpoints cannot be loaded: check out the git revision named in its "
      "environment.json, or train again in another --workdir."
    )
  return dataset


def write_record(workdir: str | os.PathLike, name: str, record: Json) -> bool:
  """Writes a record about a run into its directory, as the file `name`, and says so.

  Where the directory cannot be written to, the record is printed. Returns whether it was written.
  """
  mirror = _mirror(workdir)
  path = mirror.local / name
  written = storage.write_or_print(path, record, f"{workdir}/{name}")
  if written:
    mirror.put(path)
  return written


def _open_first(
  path: pathlib.Path, mirror: storage.Mirror, config: Record, dataset: Record
) -> TextIO:
  try:
    with writing(f"the workdir {path}"):
      path.mkdir(parents=True, exist_ok=True)
      lock = _lock(path)
  except OSError as error:
    raise UserError(f"cannot write to the workdir {path} ({error}): give another.") from error
  try:
    mirror.pull()  # under the lock: the cache may be that of a run under way
    saved = _resumable(path, checkpoints(mirror.path), config, dataset["hash"])
    here = environment(dataset["hash"])
    since = _since(saved, config)
    for name in set(config_changes.REMOVED).intersection(since["changed"]):
      cluster.say(f"this run had {name}, which is no field any more: it goes on without")
    start = {"config": config, "environment": here, **since}
    with writing(f"the workdir {path}"):
      with (path / "history.jsonl").open("a") as file:
        file.write(json.dumps(start) + "\n")
      write_json(path / "environment.json", here)
      write_json(path / _DATASET, seal({"layout": LAYOUT, **dataset}))
      write_json(path / _CONFIG, config)
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


def _resumable(
  path: pathlib.Path, directory: str, config: dict[str, Json], dataset_hash: str
) -> Metadata | None:
  """What the newest checkpoint remembers; None where there is no checkpoint.

  Raises:
    UserError: there are checkpoints, and they do not belong to this config and this data.
  """
  if not checkpoint.steps(directory):
    return None  # nothing was saved, so that nothing can be lost
  before = _parse_dataset(path, path / _DATASET)["hash"]
  saved = checkpoint.newest_metadata(directory)
  if saved is None:  # all are damaged, as the run will be told when it restores one
    saved = {"config": read_object(path / _CONFIG, way_out=_BRING_BACK), "step": None}
  _require_config(path, directory, saved, config)
  if before != dataset_hash:
    raise UserError(
      f"the run in {path} was trained on other data: its hash was {before}, now {dataset_hash}. "
      "Bring the data back to resume it, or give another --workdir to start a new run."
    )
  return saved


def _require_config(
  path: pathlib.Path, directory: str, saved: Metadata, config: dict[str, Json]
) -> None:
  workdir = directory.removesuffix("/checkpoints")
  config_changes.require_same(
    saved["config"],
    config,
    f"the run in {path} has another config",
    "Undo the change to resume it, or start a new run: give another --workdir, and "
    f"--config.training.weights={workdir} to begin with the weights of this one.",
  )


def _since(saved: Metadata | None, config: dict[str, Json]) -> Record:
  """What the history says of a start that finds a checkpoint."""
  if saved is None:
    return {"newest_checkpoint": None, "changed": {}}
  changed = config_changes.changes(saved["config"], config)
  return {"newest_checkpoint": saved["step"], "changed": changed}


def plain(config: Fields | ml_collections.ConfigDict) -> dict[str, Json]:
  """The config as it will come back from JSON: plain dicts, and lists for tuples."""
  if isinstance(config, ml_collections.ConfigDict):
    config = config.to_dict()
  return json.loads(json.dumps(config))


def _with_tuples(value: Json) -> object:
  if isinstance(value, dict):
    return {key: _with_tuples(inner) for key, inner in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
