"""One contender in a process of its own, which `compare` asks for rounds in turn.

It sets up, takes one round to compile, and then answers each line of its input, a number of steps,
with the seconds they took and the most memory that the process has held, in MiB.
"""

import importlib
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


def main() -> None:
  contender, task, *sizes = sys.argv[1:]
  run = start(contender, task, Shape(*map(int, sizes)))
  for line in sys.stdin:
    begin = time.perf_counter()
    run(int(line))
    seconds = time.perf_counter() - begin
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds} {held}", flush=True)


if __name__ == "__main__":
  main()
