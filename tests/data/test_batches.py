import itertools
import subprocess
import sys

import numpy as np
import pytest

from dlm_jax import experiment
from dlm_jax.core.errors import UserError
from dlm_jax.data.batches import Batches
from dlm_jax.data.store import Rows
from dlm_jax.training import run
from tests import tiny


def _rows(number, padded=False):
  """Row i holds i, i, i."""
  tokens = np.repeat(np.arange(number, dtype=np.uint8)[:, None], 3, axis=1)
  return Rows(tokens, np.full(number, 2, np.uint8) if padded else None)


def _seen(batches, steps):
  return [int(row[0]) for step in range(steps) for row in batches(step)["tokens"]]


@pytest.mark.parametrize(("rows", "batch_size"), [(12, 4), (13, 4), (7, 5), (5, 8)])
def test_each_row_once_an_epoch(rows, batch_size):
  seen = _seen(Batches(_rows(rows), batch_size, seed=3), steps=3 * rows)
  epochs = [seen[start : start + rows] for start in range(0, len(seen) - rows + 1, rows)]
  assert len(epochs) >= 3
  assert all(sorted(epoch) == list(range(rows)) for epoch in epochs)


def test_the_order_is_random_and_another_each_epoch_and_seed():
  epoch = _seen(Batches(_rows(50), 10, seed=0), steps=10)
  assert epoch[:50] != list(range(50))
  assert epoch[:50] != epoch[50:]
  assert epoch != _seen(Batches(_rows(50), 10, seed=1), steps=10)
  assert epoch == _seen(Batches(_rows(50), 10, seed=0), steps=10)


@pytest.mark.parametrize("parts", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 4, 5], [2, 3]], [[5]]])
def test_parts_are_rows_of_one_global_batch(parts):
  whole = Batches(_rows(17), 6, seed=5)
  for part in parts:
    batches = Batches(_rows(17), 6, 5, np.array(part))
    for step in (0, 1, 2, 40):
      np.testing.assert_array_equal(batches(step)["tokens"], whole(step)["tokens"][part])


class Watched:
  """An array that remembers which of its rows were read."""

  def __init__(self, array):
    self.array, self.read, self.shape = array, set(), array.shape

  def __len__(self):
    return len(self.array)

  def __getitem__(self, index):
    self.read |= set(np.atleast_1d(index).tolist())
    return self.array[index]


def test_a_process_reads_no_rows_but_its_own():
  """The rows of a step that fall to it, and none that another host trains on."""
  seen = []
  for index in range(4):
    rows = Rows(Watched(_rows(64).tokens), None)
    share = Batches(rows, 16, 5, np.arange(4 * index, 4 * index + 4))(0)
    assert rows.tokens.read == {int(row[0]) for row in share["tokens"]}
    seen.append(rows.tokens.read)
  assert [len(read) for read in seen] == [4] * 4
  assert len(set.union(*seen)) == 16


def test_iterating_is_the_same_from_any_step():
  batches = Batches(_rows(11), 4, seed=2)
  for start in (0, 5):
    for step, batch in enumerate(itertools.islice(batches.iterate(start), 20), start):
      np.testing.assert_array_equal(batch["tokens"], batches(step)["tokens"])


def test_the_order_of_a_seed_is_fixed():
  """An exact resume needs the same order from the next version of grain too."""
  seen = _seen(Batches(_rows(10), 5, seed=0), steps=4)
  assert seen == [0, 4, 6, 7, 8, 3, 1, 9, 5, 2, 5, 7, 6, 0, 4, 8, 9, 2, 1, 3]


def test_what_a_batch_holds():
  batch = Batches(_rows(9), 4, seed=0)(0)
  assert batch.keys() == {"tokens"}
  assert (batch["tokens"].dtype, batch["tokens"].shape) == (np.int32, (4, 3))
  batch = Batches(_rows(9, padded=True), 4, seed=0)(0)
  assert batch["given"].dtype == bool
  assert batch["given"].tolist() == [[False, False, True]] * 4


def test_a_share_of_the_rows_is_trained_on(tmp_path):
  part = _rows(7, padded=True).first(0.3)
  assert part.tokens[:, 0].tolist() == [0, 1, 2] and len(part.lengths) == 3
  whole, tenth = (
    run._batches(experiment.build(tiny.config(tmp_path, **{"data.share": share}))).source
    for share in (1.0, 0.1)
  )
  assert len(whole) == 250 and len(tenth) == 25


def test_random_windows_begin_anywhere_and_cover_the_text_each_epoch():
  tokens = np.arange(40, dtype=np.uint8).reshape(10, 4)
  batches = Batches(Rows(tokens, None), 5, seed=0, windows="random")
  rows = np.concatenate([batches(step)["tokens"] for step in range(40)])
  assert (rows == rows[:, :1] + np.arange(4)).all()  # pieces of the stream
  starts = rows[:, 0]
  assert set(starts % 4) == {0, 1, 2, 3} and starts.max() == 36  # the last window is whole
  epochs = starts.reshape(-1, 10)
  for epoch in epochs:  # one window begins in each row, but for those moved back at the end
    assert sorted(np.minimum(epoch, 35) // 4) in ([*range(9), 8], [*range(9), 9])
  assert (epochs[0] != epochs[1]).any()
  part = Batches(Rows(tokens, None), 5, 0, np.array([1, 3]), "random")
  np.testing.assert_array_equal(part(7)["tokens"], batches(7)["tokens"][[1, 3]])


def test_errors():
  with pytest.raises(UserError, match=r"no data.windows 'any'.*disjoint, random"):
    Batches(_rows(9), 4, 0, windows="any")
  with pytest.raises(UserError, match="batch_size must be at least 1, got 0"):
    Batches(_rows(9), 0, 0)
  for seed in (-1, 2**32):
    with pytest.raises(UserError, match=f"seed must lie in .*got {seed}"):
      Batches(_rows(9), 4, seed)


def test_importing_starts_no_backend():
  code = (
    "import sys, dlm_jax.prepare, dlm_jax.data.batches\n"
    "assert 'datasets' not in sys.modules\n"
    "bridge = sys.modules.get('jax._src.xla_bridge')\n"
    "assert bridge is None or not bridge._backends\n"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
