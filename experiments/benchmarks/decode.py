"""How much faster decoding is with keys and values kept than without.

  python -m experiments.benchmarks.decode

For each shape: tokens/s of a decoding loop, one `jit`, with a cache and of the same loop evaluating
the whole row each time, in turns on the same machine, and the ratio of the two. The network is not
trained: its text has no meaning and takes as long. Block diffusion has blocks of 16 tokens and one
step a token, as many as autoregression.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line
from dlm_jax.core import resolve
from dlm_jax.model.denoiser import CachingDenoiser
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.samplers import ancestral, loops
from dlm_jax.samplers.base import Request

_REPEATS = flags.DEFINE_integer("repeats", 5, "Times that each loop is run; the median counts.")

PROCESSES = (
  {"name": "autoregressive"},
  {"name": "block", "block_size": 16},
)


@dataclass(frozen=True)
class Shape:
  """What is timed: a network and a batch."""

  width: int
  heads: int
  depth: int
  length: int
  rows: int
  vocab_size: int


ON_CPU = (
  Shape(width=128, heads=1, depth=4, length=64, rows=1, vocab_size=27),
  Shape(width=128, heads=1, depth=4, length=256, rows=1, vocab_size=27),
)
ON_ACCELERATOR = (
  Shape(width=512, heads=8, depth=8, length=256, rows=64, vocab_size=27),
  Shape(width=768, heads=12, depth=12, length=1024, rows=64, vocab_size=50257),
)


def decoders(fields: dict[str, Any], shape: Shape) -> tuple[Callable, Callable]:
  """The loop `key -> tokens` with a cache and the one without."""
  process = resolve.make("dlm_jax.processes", fields, vocab_size=shape.vocab_size)
  network = transformer.make(
    width=shape.width,
    heads=shape.heads,
    depth=shape.depth,
    interface=process.interface,
    conditioning="none",
    norm="rms",
    dropout=0.0,
  )
  tokens = jnp.zeros((1, shape.length), jnp.int32)
  params = network.init(jax.random.key(0), Inputs(tokens=tokens, time=jnp.zeros(1)))

  def decode(params: Any, key: jax.Array, keep: bool) -> jax.Array:
    denoise = CachingDenoiser(network, params, pattern=process.pattern)
    # A plain function has no `extend`, so that the whole row is evaluated.
    chosen = denoise if keep else denoise.__call__
    keys = jax.random.split(key, shape.rows)
    request = Request(keys=keys, length=shape.length, steps=shape.length)
    return loops.sample(ancestral.make(), process, chosen, request).tokens

  decode = jax.jit(decode, static_argnames="keep")
  return tuple(lambda key, keep=keep: decode(params, key, keep) for keep in (True, False))


def medians(loops: tuple[Callable, ...], repeats: int) -> list[float]:
  """Seconds of each loop, run in turns so that a busy machine slows all of them."""
  seconds = []
  for i in range(repeats + 1):
    row = []
    for loop in loops:
      start = time.perf_counter()
      jax.block_until_ready(loop(jax.random.key(i)))
      row.append(time.perf_counter() - start)
    seconds.append(row)
  return np.median(seconds[1:], axis=0).tolist()  # the first one compiles


def main() -> None:
  table = Table(title=f"one {jax.devices()[0].device_kind}")
  table.add_column("process", no_wrap=True)
  for column in ("width", "depth", "length", "rows", "V", "cached", "uncached", "ratio"):
    table.add_column(column, justify="right")
  for shape in ON_CPU if jax.default_backend() == "cpu" else ON_ACCELERATOR:
    for fields in PROCESSES:
      cached, uncached = medians(decoders(fields, shape), _REPEATS.value)
      sizes = (shape.width, shape.depth, shape.length, shape.rows, shape.vocab_size)
      tokens = shape.rows * shape.length
      rates = f"{tokens / cached:,.0f}", f"{tokens / uncached:,.0f}"
      table.add_row(fields["name"], *map(str, sizes), *rates, f"{uncached / cached:.1f}")
  Console().print(table)


if __name__ == "__main__":
  command_line.run(main)
