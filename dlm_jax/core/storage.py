"""Runs and prepared data in a bucket: everything is read and written in a local cache of it.

A path with a scheme, such as `gs://bucket/runs/a` or `s3://bucket/data`, is remote. Its files lie
at the same place under the cache, `$DLM_JAX_CACHE` or `~/.cache/dlm_jax`, and are copied from there
and back by fsspec (Google's needs `gcsfs`, Amazon's `s3fs`). Checkpoints alone, which all processes
write together, go to the bucket directly.
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import fsspec

from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import SystemFault, writing
from dlm_jax.core.types import Json


def is_remote(path: str | os.PathLike) -> bool:
  return "://" in str(path)


def expand(path: str | os.PathLike) -> Path:
  """The path that a person wrote, with the home directory in the place of a `~` before it.

  A shell leaves the `~` of `--workdir=~/runs` as it stands. Every path of a flag or of a config
  comes through here.

  Raises:
    UserError: there is no such user, as in `~nobody/runs`.
  """
  try:
    return Path(path).expanduser()
  except RuntimeError as error:
    raise UserError(f"the home directory of {path} is not known: write the path out.") from error


def require_output(output: str, *inputs: str | None) -> None:
  """Raises `UserError` where the file of --output cannot be written, or is one of those read."""
  require_parent(output)
  path = expand(output)
  if path.is_dir():
    raise UserError(f"--output {output} is a directory: name a file in it.")
  if path.resolve() in [expand(name).resolve() for name in inputs if name is not None]:
    raise UserError(f"--output {output} is the file that is read: name another.")


def require_parent(output: str) -> None:
  """Raises `UserError` where the directory that --output lies in does not exist."""
  if not expand(output).absolute().parent.is_dir():
    raise UserError(f"the directory of --output {output} does not exist: make it first.")


def cache() -> Path:
  """Where files lie that can be had again: `$DLM_JAX_CACHE` or `~/.cache/dlm_jax`."""
  return expand(os.environ.get("DLM_JAX_CACHE", "~/.cache/dlm_jax"))


def local(path: str | os.PathLike) -> Path:
  """Where the files of `path` lie on this machine: there, or in the cache if it is remote."""
  if not is_remote(path):
    return expand(path)
  scheme, _, rest = str(path).partition("://")
  return cache() / scheme / rest.strip("/")


@dataclass(frozen=True)
class Mirror:
  """A directory and its local copy; where it is local itself there is nothing to copy.

  Attributes:
    path: the directory, perhaps remote.
    left_out: names in it that are not copied.
  """

  path: str
  left_out: tuple[str, ...] = ()
  _pushed: dict[Path, tuple[int, int]] = field(default_factory=dict)

  @property
  def local(self) -> Path:
    return local(self.path)

  def pull(self, directory: Path | None = None) -> None:
    """Copies what is remote over what is local, or into another local directory."""
    if not is_remote(self.path):
      return
    directory = directory or self.local
    system, root = _open(self.path)
    for entry in _entries(system, root):
      name = entry.rstrip("/").rsplit("/", 1)[-1]
      if name in self.left_out:
        continue
      for file in system.find(entry) or [entry]:
        target = directory / os.path.relpath(file, root)
        target.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(file, str(target))

  def get(self, name: str) -> Path:
    """Copies one file here, if it is there, and returns where it is or would be."""
    target = self.local / name
    if is_remote(self.path):
      system, root = _open(f"{self.path}/{name}")
      if system.exists(root):
        target.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(root, str(target))
    return target

  def push(self, last: Iterable[str] = ()) -> None:
    """Copies what is local, and new or changed since the last time; the files named `last` last."""
    if not is_remote(self.path):
      return
    files = (path for path in self.local.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: (path.name in last, path)):
      stat = path.stat()
      version = (stat.st_size, stat.st_mtime_ns)
      left_out = path.relative_to(self.local).parts[0] in self.left_out
      if not left_out and self._pushed.get(path) != version:
        self.put(path)
        self._pushed[path] = version

  def put(self, path: Path) -> None:
    """Copies one local file."""
    if not is_remote(self.path):
      return
    system, root = _open(self.path)
    target = f"{root.rstrip('/')}/{path.relative_to(self.local).as_posix()}"
    system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
    system.put_file(str(path), target)


def write_json(path: str | os.PathLike, value: Json) -> None:
  """Writes `value` as JSON so that a reader, or a crash, sees the old file or the new one.

  Raises:
    SystemFault: the system refuses; the old file is as it was.
  """
  path = Path(path)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  with writing(path):
    try:
      with temporary.open("w") as file:
        file.write(json.dumps(value, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, path)
    except OSError:
      temporary.unlink(missing_ok=True)
      raise


def write_or_print(path: str | os.PathLike, result: Json, place: str | None = None) -> bool:
  """Writes a result as JSON and says where it is; where the system refuses, prints the result.

  Args:
    path: of the file; its directory is made.
    result: what took long to compute.
    place: what the path is called, if not as it is.

  Returns:
    Whether the file was written.
  """
  try:
    with writing(path):
      Path(path).parent.mkdir(parents=True, exist_ok=True)
      write_json(path, result)
  except SystemFault as fault:
    print(f"warning: {fault} What it would hold is printed instead.", file=sys.stderr)
    print(json.dumps(result))
    return False
  print(f"written to {place or path}")
  return True


def exists(path: str) -> bool:
  """Whether there is a file at the remote `path`."""
  system, root = _open(path)
  return system.exists(root)


def _entries(system: fsspec.AbstractFileSystem, root: str) -> list[str]:
  system.invalidate_cache()
  return system.ls(root, detail=False) if system.exists(root) else []


def _open(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
  try:
    return fsspec.core.url_to_fs(str(path))
  except (ImportError, ValueError) as error:
    raise UserError(
      f"{path} cannot be opened ({error}): install what it needs, such as gcsfs for gs:// or s3fs "
      "for s3://."
    ) from error
