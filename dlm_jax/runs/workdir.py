"""The directory of a run: its lock, its config, and the environment it ran in.

<workdir>/
  .lock             held while a run writes here; the kernel frees it when the process dies
  config.json       the resolved config
  environment.json  git revision, package versions, devices, dataset hash
  history.jsonl     one line a start: the config and the environment of that start
  checkpoints/
"""

import dataclasses
import datetime
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import Any, Self, TextIO

import jax
import ml_collections

from dlm_jax.core import storage
from dlm_jax.core.dotted import dotted
from dlm_jax.core.errors import UserError
from dlm_jax.distributed import cluster

# What a resumed run may change, as prefixes of dotted names: how long it runs, what it reports and
# where it runs, never what it computes.
CHANGEABLE = (
  "training.steps",
  "training.log_every",
  "training.evaluate_every",
  "checkpoint",
  "data.directory",
  "data.workers",
  "evaluation",
  "mesh",
  "wandb_project",
  "replaced",  # how the config came about
)

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml_collections", "numpy")
_ABSENT = "(absent)"


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
  path: str | os.PathLike, config: Mapping[str, Any], *, dataset_hash: str
) -> Workdir:
  """Locks the directory of a run, made if absent, and records how this run was started.

  Of a remote directory (see `dlm_jax.core.storage`) it is the local cache that is locked: nothing
  keeps a process of another machine out.

  Every process of the run calls it; the first one does the work. A start that is refused changes
  nothing of what is there.

  Args:
    path: the directory.
    config: the resolved config, with values that JSON can hold.
    dataset_hash: the hash of the prepared tokens that the run trains on.

  Raises:
    UserError: another process runs here; or what is here came from other data or from a config
      that differs in more than `CHANGEABLE`.
  """
  mirror = _mirror(path)
  path = mirror.local.absolute()
  lock = cluster.on_first(
    lambda: _open_first(path, mirror, plain(config), dataset_hash), "the workdir"
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


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes `value` as JSON so that a reader, or a crash, sees the old file or the new one."""
  path = pathlib.Path(path)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  with temporary.open("w") as file:
    file.write(json.dumps(value, indent=2) + "\n")
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)


def write_record(workdir: str | os.PathLike, name: str, record: Any) -> pathlib.Path:
  """Writes a record about a run into its directory, as the file `name`, and returns where it is."""
  mirror = _mirror(workdir)
  path = mirror.local / name
  path.parent.mkdir(exist_ok=True)
  write_json(path, record)
  mirror.put(path)
  return path


def git_revision() -> str:
  """The commit that this code comes from, or `unknown` when it is not in a git checkout."""
  return _git("rev-parse", "HEAD") or "unknown"


def environment(dataset_hash: str) -> dict[str, Any]:
  """What a result depends on beside its config: code, packages, devices, data."""
  changes = _git("status", "--porcelain")
  return {
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "git_revision": git_revision(),
    "git_dirty": None if changes is None else bool(changes),
    "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
    "device_kind": jax.devices()[0].device_kind,
    "device_count": jax.device_count(),
    "process_count": jax.process_count(),
    "dataset_hash": dataset_hash,
  }


def _open_first(
  path: pathlib.Path, mirror: storage.Mirror, config: dict[str, Any], dataset_hash: str
) -> TextIO:
  try:
    path.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
  except OSError as error:
    raise UserError(f"cannot write to the workdir {path} ({error}): give another.") from error
  try:
    mirror.pull()  # under the lock: the cache may be that of a run under way
    _require_same_run(path, config, dataset_hash)
    here = environment(dataset_hash)
    with (path / "history.jsonl").open("a") as file:
      file.write(json.dumps({"config": config, "environment": here}) + "\n")
    write_json(path / "environment.json", here)
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


def _require_same_run(path: pathlib.Path, config: dict[str, Any], dataset_hash: str) -> None:
  if not (path / "config.json").exists():
    return
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
  before = json.loads((path / "environment.json").read_text())["dataset_hash"]
  if before != dataset_hash:
    raise UserError(
      f"the run in {path} was trained on other data: its hash was {before}, now {dataset_hash}. "
      "Bring the data back to resume it, or give another --workdir to start a new run."
    )


def _changeable(name: str) -> bool:
  return any(name == prefix or name.startswith(f"{prefix}.") for prefix in CHANGEABLE)


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
  """The config as it will come back from JSON: plain dicts, and lists for tuples."""
  if isinstance(config, ml_collections.ConfigDict):
    config = config.to_dict()
  return json.loads(json.dumps(config))


def _with_tuples(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _with_tuples(inner) for key, inner in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git(*arguments: str) -> str | None:
  """The output of a git command where this file is, or None when git does not track this file."""
  here = pathlib.Path(__file__).resolve()
  try:
    # An installed copy may lie inside a checkout of something else.
    for command in (("ls-files", "--error-unmatch", here.name), arguments):
      done = subprocess.run(
        ["git", *command], cwd=here.parent, capture_output=True, text=True, check=True
      )
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()
