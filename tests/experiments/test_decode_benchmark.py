"""The decoders that `experiments.benchmarks.decode` measures, and the table of what it found."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import decode, decode_ours, decode_table
from experiments.benchmarks.decode_points import CACHES, grid
from experiments.benchmarks.decode_shapes import SHAPES, DecoderShape, Pass

TINY = DecoderShape(vocab_size=12, fields={"width": 16, "heads": 2, "depth": 1})


@pytest.mark.parametrize(
  ("name", "billions"), [("llada_8b", 8.02), ("dream_7b", 7.62), ("sdar_4b", 4.41)]
)
def test_the_shapes_have_the_parameters_of_their_models(name, billions):
  params = jax.eval_shape(SHAPES[name].params)
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e9 == pytest.approx(
    billions, abs=0.01
  )


@pytest.mark.parametrize("cache", CACHES)
def test_each_decoder_takes_the_passes_that_its_roofline_counts(cache):
  params = TINY.params()
  (point,) = grid((cache,), (2,), (4,), (4,), 2, 8)
  prompts = np.zeros((2, 4), np.int32)
  has_prompt = cache in ("autoregressive", "block")
  found = decode_ours.contender(point, TINY, params, prompts)
  assert found.answer() == len(point.passes()) + has_prompt


def test_a_pass_costs_its_products_and_what_it_reads():
  network = TINY.network()
  weights = network.depth * network.layer_weights
  each = Pass(start=2, queries=3, keys=5, scored=1)
  assert each.flops(network, 2) == 2 * 2 * (3 * (weights + 2 * 5 * 16) + 16 * 12)
  assert each.bytes(network, 2) == 4 * (weights + 16 * 12 + 2 * 2 * 5 * 16)


def row(cache, seconds, **fields):
  return {
    "cache": cache,
    "rows": 2,
    "prompt": 8,
    "length": 64,
    "block": 32,
    "commits": 2,
    "passes": 32,
    "seconds": seconds,
    "roofline_seconds": 0.5,
    "flops": 8.0,
    "bytes": 3.0,
    "limits": {"flops": 2.0, "bandwidth": 1.0},
    **fields,
  }


def test_the_table_says_how_many_tokens_a_step_must_commit():
  points = [
    row("autoregressive", {"ours": 1.0, "torch": 1.5}, passes=64, commits=1),
    row("dual", {"ours": 0.8, "torch": 2.0}, bytes=5.0),
    row("dual", {"ours": 0.8}, rows=4),
  ]
  lines = decode_table.table(points).splitlines()[2:]
  assert lines[0] == "| 8 | 2 | autoregressive |  | 64 | 0.50 | compute | 1 | 128 |  | 1.50 |  |"
  # 40 evaluations/s of diffusion against 64 tokens/s of a row.
  assert lines[1] == "| 8 | 2 | dual | 32 | 40 | 0.62 | memory | 2 | 160 | 1.60 | 2.50 |  |"
  assert lines[2] == "| 8 | 4 | dual | 32 | 40 | 0.62 | compute | 2 | 320 |  |  |  |"


def test_the_readme_has_the_table_of_the_record():
  record = decode.read(decode.DecodeSettings().path)
  readme = (decode.HERE / "README.md").read_text(encoding="utf-8")
  assert len(record["points"]) > 10
  assert decode_table.table(record["points"]) in readme
