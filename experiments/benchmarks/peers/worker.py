"""One contender in a process of its own, which `compare` asks for rounds in turn.

It sets up, takes one round to compile, and then answers each line of its input, a number of steps,
with the seconds they took and the most memory that the process has held, in MiB.
"""

import importlib
import os
import resource
import sys
import time
from collections.abc import Callable

from experiments.benchmarks.shape import Shape


def start(contender: str, task: str, shape: Shape) -> Callable[[int], None]:
  """The function that takes so many steps of `task`, `training` or `sampling`."""
  module, *variant = contender.split(".")
  peer = importlib.import_module(f"experiments.benchmarks.peers.{module}")
  return {"training": peer.training, "sampling": peer.sampling}[task](shape, *variant)


def most_held(contender: str) -> float:
  """The MiB that the GPU, or else the process, has held at most."""
  if contender.startswith("torch"):
    import torch  # noqa: PLC0415

    of_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
  else:
    import jax  # noqa: PLC0415

    of_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
  if of_device is None:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  return of_device / 2**20


def main() -> None:
  contender, task, *sizes = sys.argv[1:]
  # The contenders share a GPU.
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  run = start(contender, task, Shape(*map(int, sizes)))
  for line in sys.stdin:
    begin = time.perf_counter()
    run(int(line))
    seconds = time.perf_counter() - begin
    print(f"{seconds} {most_held(contender)}", flush=True)


if __name__ == "__main__":
  main()
