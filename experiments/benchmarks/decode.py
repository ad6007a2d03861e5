"""How fast answers are decoded, with each cache, beside an autoregressive model and PyTorch.

  python -m experiments.benchmarks.decode                the points that are not in the record yet
  python -m experiments.benchmarks.decode --table        the table of the record

Random weights, and a number n of tokens that every step commits, so that the figures hold for any
weights. A point is added to the record, a JSON file, as soon as it is measured: a command that was
stopped goes on where it was, and --batches, --prompts, --blocks and --caches choose a part of the
grid. The contenders of a point take turns on the same machine, and medians count. On an accelerator
--shape=llada_8b, dream_7b and sdar_4b are measured in bfloat16. PyTorch is optional (`pip install
torch`).
"""

import dataclasses
import importlib.util
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.core.errors import require_known
from dlm_jax.core.ranges import Positive, PositiveInt
from dlm_jax.core.types import Params, Record
from dlm_jax.runs import provenance
from experiments.benchmarks import decode_ours, decode_table, roofline
from experiments.benchmarks.decode_points import CACHES, Contender, Point, grid, seconds_of
from experiments.benchmarks.decode_shapes import SHAPES, DecoderShape
from experiments.benchmarks.roofline import Roofline

HERE = Path(__file__).parent
# What scores the block alone, or as the reference codes all positions that it evaluates.
AGAINST = ("torch", "torch_published")
MOST_TURNS = 9


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
  """What is measured.

  Attributes:
    shape: of the network: `cpu_25m`, or on an accelerator `llada_8b`, `dream_7b` or `sdar_4b`.
    caches: `autoregressive`, a model that reads from left to right; and masked models with `none`,
      `prefix`, `dual`, `vicinity` and, where attention is causal over blocks, `block`.
    batches: rows.
    prompts: tokens of the prompts.
    blocks: tokens of a block.
    commits: tokens that a step commits.
    length: tokens of an answer, a multiple of every block.
    against: `torch`, which scores the block alone, and `torch_published`, which scores in float64
      all positions that it evaluates, as the reference codes do. Without PyTorch there is neither.
    seconds: of the turns of each contender at a point, about; two turns at least.
    output: the record that points are added to; `decode_<shape>.json` beside this file if empty.
    table: whether to print the table of the record, and to measure nothing.
  """

  shape: str = "cpu_25m"
  caches: tuple[str, ...] = CACHES
  batches: tuple[PositiveInt, ...] = (1, 4)
  prompts: tuple[PositiveInt, ...] = (128, 1024)
  blocks: tuple[PositiveInt, ...] = (4, 8, 32)
  commits: PositiveInt = 2
  length: PositiveInt = 32
  against: tuple[str, ...] = ("torch",)
  seconds: Positive = 1.0
  output: str = ""
  table: bool = False

  def __post_init__(self) -> None:
    require_known("shape", self.shape, SHAPES)
    for name in self.caches:
      require_known("cache", name, CACHES)
    for name in self.against:
      require_known("contender in PyTorch", name, AGAINST)

  @property
  def path(self) -> Path:
    return Path(self.output or HERE / f"decode_{self.shape}.json")

  @property
  def points(self) -> list[Point]:
    return list(
      grid(self.caches, self.batches, self.prompts, self.blocks, self.commits, self.length)
    )


def contenders(
  settings: DecodeSettings, point: Point, shape: DecoderShape, params: Params
) -> dict[str, Contender]:
  """All that take turns at `point`, ours first."""
  generator = np.random.default_rng(0)
  prompts = generator.integers(shape.mask_id, size=(point.rows, point.prompt), dtype=np.int32)
  found = {"ours": decode_ours.contender(point, shape, params, prompts)}
  if importlib.util.find_spec("torch") is not None:
    from experiments.benchmarks.peers import torch_decoding  # noqa: PLC0415  it is optional

    for name in settings.against:
      published = name == "torch_published"
      found[name] = torch_decoding.contender(point, shape, prompts, published)
  return found


def turns(found: dict[str, Contender], at_least: float) -> dict[str, list[tuple[float, float]]]:
  """Seconds of the answers, and of the prompts alone, at each turn of each contender."""
  seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
  begin = time.perf_counter()
  for turn in range(MOST_TURNS):
    if turn >= 2 and time.perf_counter() - begin > at_least * len(found):
      break
    for name, each in found.items():
      seconds[name].append((seconds_of(each.answer), seconds_of(each.prompt)))
  return seconds


def measure(settings: DecodeSettings, point: Point, params: Params, limits: Roofline) -> Record:
  """The record of a point."""
  shape = SHAPES[settings.shape]
  network = shape.network()
  found = contenders(settings, point, shape, params)
  evaluations = found["ours"].answer()  # compiles
  found["ours"].prompt()
  passes = point.passes(int(shape.label_shift))
  flops = [each.flops(network, point.rows) for each in passes]
  moved = [each.bytes(network, point.rows) for each in passes]
  measured = turns(found, settings.seconds)
  medians = {
    name: [statistics.median(times) for times in zip(*each, strict=True)]
    for name, each in measured.items()
  }
  return {
    **dataclasses.asdict(point),
    "evaluations": evaluations,
    "passes": len(passes),
    "turns": len(measured["ours"]),
    "seconds": {name: answer - prompt for name, (answer, prompt) in medians.items()},
    "prompt_seconds": {name: prompt for name, (_, prompt) in medians.items()},
    "roofline_seconds": sum(map(limits.seconds, flops, moved)),
    "flops": sum(flops),
    "bytes": sum(moved),
    "limits": dataclasses.asdict(limits),
  }


def read(path: Path) -> Record:
  """The record so far."""
  return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"points": []}


def main(settings: DecodeSettings) -> None:
  """Measures what is not in the record yet, and prints its table."""
  record = read(settings.path)
  if settings.table:
    print(decode_table.table(record["points"]))
    return
  known = [{name: row[name] for name in Point.names()} for row in record["points"]]
  params = SHAPES[settings.shape].params()
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
  limits = roofline.measured(size, SHAPES[settings.shape].network().compute_dtype)
  record["environment"] = provenance.environment("")
  for point in settings.points:
    if dataclasses.asdict(point) in known:
      continue
    record["points"].append(measure(settings, point, params, limits))
    storage.write_json(settings.path, record)
    print(" | ".join(decode_table.cells(record["points"][-1], record["points"])), flush=True)
  print(decode_table.table(record["points"]))


if __name__ == "__main__":
  command_line.run(main, DecodeSettings)
