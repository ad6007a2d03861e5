"""Freed memory is kept on a CPU with glibc, and nowhere else."""

from types import SimpleNamespace

import pytest

from dlm_jax.distributed import allocator


@pytest.mark.parametrize(
  ("libc", "platforms", "devices", "is_kept"),
  [
    ("glibc", "", "nothing", True),
    ("glibc", "cpu", "", True),
    ("glibc", "", "", False),
    ("glibc", "cuda,cpu", "nothing", False),
    ("musl", "cpu", "nothing", False),
    ("", "cpu", "nothing", False),
  ],
)
def test_only_a_cpu_with_glibc(libc, platforms, devices, is_kept, monkeypatch, tmp_path):
  calls = []
  library = SimpleNamespace(mallopt=lambda *call: calls.append(call))
  monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: library)
  monkeypatch.setattr(allocator.platform, "libc_ver", lambda: (libc, "1"))
  monkeypatch.setattr(allocator, "_ACCELERATORS", (str(tmp_path / devices),))
  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  allocator.keep_freed_memory()
  assert calls == ([(-4, 0), (-1, -1), (-8, 1)] if is_kept else [])
