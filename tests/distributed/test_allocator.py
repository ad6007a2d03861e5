"""Freed memory is kept on a CPU with glibc, and nowhere else."""

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlm_jax.distributed import allocator

ROOT = Path(__file__).parent.parent.parent


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


COMMAND = """
import pathlib, resource
from dlm_jax import command_line

def main():
  block = b"x" * 2**28
  del block
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  print("kept", pages * resource.getpagesize() > 2**28)

command_line.run(main)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps memory")
def test_a_command_keeps_what_it_frees():
  done = subprocess.run(
    [sys.executable, "-c", COMMAND], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert done.stdout == "kept True\n"
