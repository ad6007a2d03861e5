"""The memory of a process that computes on a CPU: what it frees it keeps for its next step.

A training step asks for hundreds of MB and frees them at its end. By default glibc takes each large
block from the system and gives it back, so that the kernel has to clear all of these pages again in
every step, which took between a tenth and a third of its time. The price is memory: a block that
does not fit into what was freed is added to the heap, up to twice the temporary memory of a step.
"""

import ctypes
import glob
import os
import platform

# Parameters of `mallopt`, from glibc's malloc.h, and the values that keep what is freed: no block
# is a mapping of its own, nothing is given back, and all threads share one heap (the others could
# not hold large blocks).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_KEEP = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_ARENA_MAX: 1}
# Device files of NVIDIA GPUs, of those under WSL, of AMD GPUs and of TPUs.
_ACCELERATORS = ("/dev/nvidia*", "/dev/dxg", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")


def keep_freed_memory() -> None:
  """Has glibc keep freed memory where JAX computes on a CPU; elsewhere nothing changes.

  To be called when a process starts: a thread that has its own heap by then keeps it. A process
  that another library started, as a notebook, gets the same from its environment:
  MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1 MALLOC_ARENA_MAX=1.
  """
  if platform.libc_ver()[0] == "glibc" and _computes_on_cpu():
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in _KEEP.items():
      mallopt(parameter, value)


def _computes_on_cpu() -> bool:
  """Whether JAX will find no accelerator, said without starting it."""
  chosen = os.environ.get("JAX_PLATFORMS")
  if chosen:
    return chosen == "cpu"
  return not any(glob.glob(files) for files in _ACCELERATORS)
