"""How fast a training step is, beside what the machine can do at all.

  python -m experiments.benchmarks.train_step

For each shape: tokens/s, model FLOPs/s (from shapes, three times the forward pass), the peak that
square matrix products reach on this machine in the same run, the ratio of the two, MFU (the ratio
to the data sheet's peak) and the most memory the device has held so far. The ratio compares; the
other columns depend on the machine and on what else it does. What an optimizer multiplies (Muon
orthogonalises every matrix at every step) is not counted as the model's.
"""

import time

import jax
import jax.numpy as jnp
from absl import flags
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line
from dlm_jax.core import resolve
from dlm_jax.training.optimizer import OptimizerConfig
from dlm_jax.training.throughput import PEAK_FLOPS, measured_matmul_flops
from experiments.benchmarks import step
from experiments.benchmarks.shape import COLUMNS, Shape

_OPTIMIZER = flags.DEFINE_enum("optimizer", "adamw", ["adamw", "muon"], "What updates.")
_PROCESS = flags.DEFINE_enum(
  "process", "absorbing", ["absorbing", "autoregressive"], "What trains."
)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "How long each shape is timed, at least.")


# Steps between two looks at the clock: training does not wait for a step either.
AT_ONCE = 5
# The quickstart's, one of middle size, and one as wide as the smallest of the papers.
ON_CPU = (
  Shape(width=128, heads=1, depth=4, length=64, rows=64, vocab_size=27),
  Shape(width=256, heads=2, depth=4, length=128, rows=32, vocab_size=27),
  Shape(width=512, heads=4, depth=4, length=128, rows=32, vocab_size=27),
)
ON_ACCELERATOR = (
  Shape(width=512, heads=8, depth=8, length=256, rows=256, vocab_size=27),
  Shape(width=768, heads=12, depth=12, length=1024, rows=32, vocab_size=50257),
  Shape(width=1024, heads=16, depth=24, length=1024, rows=16, vocab_size=50257),
)


def seconds_per_step(shape: Shape, at_least: float) -> tuple[float, int]:
  """Seconds of a step and FLOPs of a token, the step as training runs it."""
  config = {"name": _PROCESS.value}
  process = resolve.make("dlm_jax.processes", config, vocab_size=shape.vocab_size)
  network = step.network(shape, process.interface, unroll=0)
  run = step.training(
    process, network, shape, OptimizerConfig(name=_OPTIMIZER.value), ema_decay=0.999
  )
  run(1)  # compiles
  steps, start = 0, time.perf_counter()
  while (elapsed := time.perf_counter() - start) < at_least:
    run(AT_ONCE)
    steps += AT_ONCE
  forward = network.flops_per_token(shape.length, process.pattern, process.scored_share)
  return elapsed / steps, 3 * forward


def peak_memory() -> str:
  """GiB that the device has held at most, if it tells."""
  stats = jax.devices()[0].memory_stats() or {}
  held = stats.get("peak_bytes_in_use")
  return "unknown" if held is None else f"{held / 2**30:.1f}"


def main() -> None:
  on_cpu = jax.default_backend() == "cpu"
  dtype = jnp.float32 if on_cpu else jnp.bfloat16
  kind = jax.devices()[0].device_kind
  table = Table(title=f"one {kind}, {dtype.__name__}, {_PROCESS.value}, {_OPTIMIZER.value}")
  for column in (*COLUMNS, "tokens/s", "GFLOP/s", "peak", "ratio", "MFU", "GiB"):
    table.add_column(column, justify="right")
  for shape in ON_CPU if on_cpu else ON_ACCELERATOR:
    seconds, flops_per_token = seconds_per_step(shape, _SECONDS.value)
    peak = measured_matmul_flops(1024 if on_cpu else 8192, repeats=20, dtype=dtype)
    rate = shape.rows * shape.length / seconds
    table.add_row(
      *shape.cells,
      f"{rate:,.0f}",
      f"{rate * flops_per_token / 1e9:,.1f}",
      f"{peak / 1e9:,.1f}",
      f"{rate * flops_per_token / peak:.2f}",
      f"{rate * flops_per_token / PEAK_FLOPS[kind]:.2f}" if kind in PEAK_FLOPS else "unknown",
      peak_memory(),
    )
  Console(width=120).print(table)


if __name__ == "__main__":
  command_line.run(main)
