"""How fast sampling with a key-value cache is, beside a plain PyTorch loop and beside none.

  python -m experiments.benchmarks.cached_sampling

For each shape: milliseconds a token of our decoding loop, one `jit`, and how many times as long
each contender takes: a PyTorch loop with a cache (`torch_decoder`; with all threads and with one,
and the faster counts), and our own loop that evaluates the whole row each time. They take turns on
the same machine, and medians count. The network is not trained: its text has no meaning and takes
as long. Block diffusion has blocks of 16 tokens and one step a token.
"""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from dlm_jax.core import resolve
from dlm_jax.model.denoiser import CachingDenoiser
from dlm_jax.samplers import ancestral, loops
from dlm_jax.samplers.base import Request
from experiments.benchmarks import step
from experiments.benchmarks.shape import COLUMNS, Shape

CONTENDERS = ("torch", "uncached")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Turns of each contender.", 1)
_AGAINST = flags.DEFINE_list(
  "against", ["torch"], f"What ours is compared with, of {', '.join(CONTENDERS)}."
)
_SHAPES = flags.DEFINE_list("shapes", [], "Which of the shapes, by number from 0; all if empty.")

BLOCK = 16
PROCESSES = {"autoregressive": {}, "block": {"block_size": BLOCK}}
_PROCESSES = flags.DEFINE_list("processes", [*PROCESSES], "What decodes.")

# Draws a batch of rows; the argument is the seed.
Loop = Callable[[int], object]


ON_CPU = (
  Shape(width=128, heads=2, depth=4, length=64, rows=1, vocab_size=27),
  Shape(width=128, heads=2, depth=4, length=64, rows=32, vocab_size=27),
  Shape(width=256, heads=4, depth=6, length=256, rows=1, vocab_size=27),
  Shape(width=256, heads=4, depth=6, length=256, rows=32, vocab_size=27),
)
ON_ACCELERATOR = (
  Shape(width=512, heads=8, depth=8, length=256, rows=64, vocab_size=27),
  Shape(width=768, heads=12, depth=12, length=1024, rows=64, vocab_size=50257),
)


def ours(fields: dict[str, Any], shape: Shape, cached: bool) -> Loop:
  """Our decoding loop, with a cache or without."""
  process = resolve.make("dlm_jax.processes", fields, vocab_size=shape.vocab_size)
  network = step.network(shape, process.interface)
  params = network.init(jax.random.key(0), step.inputs(shape))

  @jax.jit
  def decode(params: Any, key: jax.Array) -> jax.Array:
    denoise = CachingDenoiser(network, params, pattern=process.pattern)
    # A plain function has no `extend`, so that the whole row is evaluated.
    chosen = denoise if cached else denoise.__call__
    keys = jax.random.split(key, shape.rows)
    request = Request(keys=keys, length=shape.length, steps=shape.length)
    return loops.sample(ancestral.make(), process, chosen, request).tokens

  return lambda seed: jax.block_until_ready(decode(params, jax.random.key(seed)))


def in_torch(fields: dict[str, Any], shape: Shape, threads: int) -> Loop:
  """The loop of `torch_decoder` of the same shape."""
  # Optional.
  import torch  # noqa: PLC0415

  from experiments.benchmarks.peers import torch_decoder  # noqa: PLC0415

  on_gpu = torch.cuda.is_available()
  torch.set_default_device("cuda" if on_gpu else "cpu")
  decoder = torch_decoder.Decoder(shape.width, shape.heads, shape.depth, shape.vocab_size)
  decoder = decoder.to(torch.bfloat16 if on_gpu else torch.float32)

  def run(seed: int) -> object:
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    if fields["name"] == "autoregressive":
      tokens = torch_decoder.autoregressive(decoder, shape.rows, shape.length)
    else:
      tokens = torch_decoder.blocks(decoder, shape.rows, shape.length, BLOCK)
    return tokens.cpu()

  return run


def contenders(fields: dict[str, Any], shape: Shape) -> dict[str, list[Loop]]:
  """The loops by name, ours first; the fastest of a list counts."""
  found = {"ours": [ours(fields, shape, cached=True)]}
  if "torch" in _AGAINST.value:
    import torch  # noqa: PLC0415

    threads = [1] if torch.cuda.is_available() else sorted({1, torch.get_num_threads()})
    found["torch"] = [in_torch(fields, shape, count) for count in threads]
  if "uncached" in _AGAINST.value:
    found["uncached"] = [ours(fields, shape, cached=False)]
  return found


def medians(loops: list[Loop], repeats: int) -> list[float]:
  """Seconds of each loop, run in turns so that a busy machine slows all of them."""
  seconds = []
  for seed in range(repeats + 1):
    row = []
    for loop in loops:
      start = time.perf_counter()
      loop(seed)
      row.append(time.perf_counter() - start)
    seconds.append(row)
  return np.median(seconds[1:], axis=0).tolist()  # the first one compiles


def compare(fields: dict[str, Any], shape: Shape) -> list[str]:
  """A row of the table: milliseconds a token, and the ratios to ours."""
  found = contenders(fields, shape)
  times = iter(medians([loop for group in found.values() for loop in group], _REPEATS.value))
  fastest = {name: min(next(times) for _ in group) for name, group in found.items()}
  ratios = [f"{fastest[name] / fastest['ours']:.2f}" for name in _AGAINST.value]
  milliseconds = f"{1e3 * fastest['ours'] / shape.length:.2f}"
  return [fields["name"], *shape.cells, milliseconds, *ratios]


def main(_: list[str]) -> None:
  if "torch" in _AGAINST.value and importlib.util.find_spec("torch") is None:
    raise app.UsageError("PyTorch is not installed: `pip install torch`, or --against=uncached.")
  shapes = ON_CPU if jax.default_backend() == "cpu" else ON_ACCELERATOR
  table = Table(title=f"one {jax.devices()[0].device_kind}")
  table.add_column("process", no_wrap=True)
  for column in (*COLUMNS, "ms a token", *_AGAINST.value):
    table.add_column(column, justify="right")
  for index in map(int, _SHAPES.value or range(len(shapes))):
    for name in _PROCESSES.value:
      table.add_row(*compare({"name": name, **PROCESSES[name]}, shapes[index]))
  Console().print(table)


if __name__ == "__main__":
  app.run(main)
