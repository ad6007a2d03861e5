"""Compiled programs are kept on disk, in bounds, unless the user says otherwise."""

import os
from types import SimpleNamespace

import pytest

from dlm_jax.distributed import compiled_programs


@pytest.mark.parametrize(
  ("cache", "own", "is_kept"),
  [
    ("cache", "", True),
    ("cache", "elsewhere", False),
    ("file/cache", "", False),
    ("~no_such_user/cache", "", False),
  ],
)
def test_they_are_kept_unless_the_user_or_the_system_says_otherwise(
  cache, own, is_kept, monkeypatch, tmp_path
):
  made = {}
  config = SimpleNamespace(update=made.__setitem__)
  monkeypatch.setattr(compiled_programs, "jax", SimpleNamespace(config=config))
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", own)
  (tmp_path / "file").touch()
  monkeypatch.setenv("DLM_JAX_CACHE", cache if cache.startswith("~") else str(tmp_path / cache))
  compiled_programs.keep_compiled_programs()
  assert made.get("jax_compilation_cache_dir") == (
    str(tmp_path / "cache" / "compiled") if is_kept else None
  )
  assert ("jax_persistent_cache_min_compile_time_secs" in made) == is_kept


def test_the_programs_that_were_used_last_stay(tmp_path):
  """One counts by when it was written, another by when it was read."""
  ages = {"old": (1, 1), "read": (4, 1), "written": (2, 3), "new": (5, 5)}
  for name, times in ages.items():
    (tmp_path / name).write_bytes(b"x" * 100)
    os.utime(tmp_path / name, times)
  (tmp_path / "directory").mkdir()
  compiled_programs.remove_oldest(tmp_path, 250)
  assert {path.name for path in tmp_path.iterdir()} == {"read", "new", "directory"}
  compiled_programs.remove_oldest(tmp_path, 200)
  assert (tmp_path / "read").exists()
