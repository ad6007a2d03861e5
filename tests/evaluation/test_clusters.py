"""Standard errors of rows that are not independent, on corpora whose documents are drawn."""

import math

import numpy as np
import pytest

from dlm_jax.evaluation import clusters
from dlm_jax.evaluation.estimates import paired_difference, summarize

ROWS = 4096


def corpus(seed, document_rows=8.0, rows=ROWS):
  """Nats and tokens of rows, and the document of each: one is as hard throughout as it happens."""
  rng = np.random.default_rng(seed)
  lengths = rng.geometric(1 / document_rows, rows)
  document = np.repeat(np.arange(rows), lengths)[:rows]
  tokens = rng.integers(8, 17, rows).astype(float)
  hard = 2 + rng.normal(size=rows)[document] + rng.normal(size=rows)
  return hard * tokens, tokens, document


def error_over_spread(clusters_of):
  """The mean standard error of resampled corpora over the spread of their means a token.

  `clusters_of` gives the clusters from the document of each row.
  """
  bounds = []
  for seed in range(150):
    nats, tokens, document = corpus(seed)
    bounds.append(summarize(nats[None], tokens, clusters_of(document)))
  spread = np.std([bound.nats_per_token for bound in bounds], ddof=1)
  return np.mean([bound.standard_error for bound in bounds]) / spread


def test_the_clustered_error_is_the_spread_over_corpora_and_that_of_rows_is_not():
  # A standard deviation of 150 draws is known to 6%.
  assert 0.85 < error_over_spread(lambda document: document) < 1.15
  blocks = clusters.of_rows(ROWS, are_documents=False).index
  assert 0.8 < error_over_spread(lambda _: blocks) < 1.15
  assert error_over_spread(lambda _: np.arange(ROWS)) < 0.5


def test_clusters_of_one_row_give_the_usual_standard_error():
  nats, _, _ = corpus(0, rows=50)
  usual = np.std(nats, ddof=1) / math.sqrt(50)
  found = clusters.ratio_error(nats, np.ones(50), np.arange(50))
  assert found == pytest.approx(usual, rel=1e-12)
  # The names of clusters do not matter, nor does a cluster's order.
  assert clusters.ratio_error(nats, np.ones(50), 7 * np.arange(50)[::-1]) == pytest.approx(usual)


def test_sums_by_hand():
  # The ratio is 2 and the residuals are -1, 1, 1, -1: their sums over clusters cancel or add up.
  nats, tokens = np.array([1.0, 3.0, 3.0, 1.0]), np.ones(4)
  assert clusters.ratio_error(nats, tokens, np.array([0, 0, 1, 1])) == 0
  found = clusters.ratio_error(nats, tokens, np.array([0, 1, 1, 0]))
  assert found == pytest.approx(math.sqrt((2**2 + 2**2) * 2 / 1) / 4)


@pytest.mark.parametrize(
  ("rows", "number", "size"),
  [(2, 2, 1), (10, 10, 1), (100, 16, 6), (1024, 16, 64), (9000, 140, 64)],
)
def test_blocks_are_of_neighbours_and_few_rows_still_give_some(rows, number, size):
  found = clusters.of_rows(rows, are_documents=False)
  counts = np.bincount(found.index)
  assert len(counts) == number and set(counts) <= {size, size + 1}
  assert np.all(np.diff(found.index) >= 0)
  blocks = f"blocks of up to {max(counts)} neighbouring rows" if size > 1 else "rows"
  assert found.description == f"over {number} {blocks}"


def test_rows_that_are_documents_are_their_own_clusters():
  found = clusters.of_rows(100, are_documents=True)
  assert len(set(found.index)) == 100 and found.description == "over 100 documents, a row each"


def by_cluster(nats, tokens, index):
  columns = (np.bincount(index), np.bincount(index, tokens), np.bincount(index, nats))
  return [{"rows": n, "tokens": t, "nats": y} for n, t, y in zip(*columns, strict=True)]


def test_the_paired_difference_leaves_out_what_both_find_hard():
  nats, tokens, document = corpus(1)
  other = nats + tokens * (0.1 + 0.01 * np.random.default_rng(2).normal(size=ROWS))
  first, second = (by_cluster(values, tokens, document) for values in (other, nats))
  found = paired_difference(first, second)
  assert abs(found.value - 0.1) < 4 * found.standard_error
  assert found.standard_error < summarize(nats[None], tokens, document).standard_error / 20
  assert paired_difference(second, first).value == pytest.approx(-found.value)
  assert paired_difference(first, second[:-1]) is None
