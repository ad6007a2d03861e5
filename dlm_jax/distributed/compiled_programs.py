"""Compiled programs are kept on disk: started again, a command finds what it compiled before."""

import os
from pathlib import Path

import jax

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError

# Bytes that are kept, at most: a hundred programs of large networks.
MAX_SIZE = 2**30


def keep_compiled_programs() -> None:
  """Has JAX keep every program that it compiles, in `compiled` of the cache of `storage`.

  A directory of the user's own, `JAX_COMPILATION_CACHE_DIR`, is left as JAX's settings have it, and
  `JAX_ENABLE_COMPILATION_CACHE=false` turns it off. Where nothing can be written, nothing is kept.
  """
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return
  try:
    directory = storage.cache() / "compiled"
    directory.mkdir(parents=True, exist_ok=True)
    remove_oldest(directory, MAX_SIZE)
  except (OSError, UserError):  # read-only, or without a home
    return
  jax.config.update("jax_compilation_cache_dir", str(directory))
  # Hundreds of small programs prepare a run: each is compiled in far less than JAX's limit of 1 s.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def remove_oldest(directory: Path, max_size: int) -> None:
  """Removes the files of a directory that were not read for longest, until it holds `max_size`.

  JAX can do so as well (`jax_compilation_cache_max_size`), but in versions before 0.12 never again
  once a process was killed between its two writes of an entry.
  """
  files = [(path, path.stat()) for path in directory.iterdir() if path.is_file()]
  size = sum(stat.st_size for _, stat in files)
  for path, stat in sorted(files, key=lambda file: max(file[1].st_atime, file[1].st_mtime)):
    if size <= max_size:
      break
    path.unlink(missing_ok=True)
    size -= stat.st_size
