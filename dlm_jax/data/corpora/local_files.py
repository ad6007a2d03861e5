"""What corpora share that read the user's own files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.split_by_hash import SplitByHash


@dataclass(frozen=True, kw_only=True)
class LocalFiles(SplitByHash):
  """The files of a corpus.

  Attributes:
    paths: files and globs (`**` is any depth of folders), read in sorted order. What gzip, bzip2 or
      xz has compressed is read as it is.

  Raises:
    UserError: no path is given.
  """

  paths: tuple[str, ...]

  def __post_init__(self) -> None:
    super().__post_init__()
    if not self.paths:
      raise UserError("corpus.paths is empty: set data.corpus.paths to files or globs.")

  @property
  def version(self) -> list[list[str | int]]:
    """Of each file, see `base.file_versions`: a file with other text is another corpus."""
    return base.file_versions(self.files())

  def files(self) -> list[Path]:
    """The files of all paths, sorted. Raises `UserError` where a path is no file."""
    return base.files(self.paths)


Files = TypeVar("Files", bound=LocalFiles)


def build(cls: type[Files], paths: str | Sequence[str], **fields: object) -> Files:
  """Builds the corpus `cls`; `paths` is one path or glob, or several."""
  paths = (paths,) if isinstance(paths, str) else tuple(paths)
  return resolve.build(cls, {"paths": paths, **fields})
