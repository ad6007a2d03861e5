"""The exact law of a decoder, where it is known otherwise, and the tables made of the results."""

import json

import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.decoding import base
from experiments.parallel_commit import run
from experiments.parallel_commit.law import EnumerableModel, law

ROWS = EnumerableModel("", np.ones(1), 3, 2).outcomes
PROBS = np.array([5, 1, 2, 1, 7, 1, 3, 1, 4], np.float64) / 25
MODEL = EnumerableModel("", PROBS, 3, 2)


def written(score, **rule):
  return law(MODEL, resolve.make(base.RULES, rule), score)


@pytest.mark.parametrize("score", ["random", "margin", "negative_entropy", "left_to_right"])
def test_one_at_a_time_in_an_order_that_knows_no_candidate_is_exact(score):
  found = written(score, name="top_n")
  np.testing.assert_allclose(found.probs, PROBS, atol=1e-12)
  assert found.evaluations == pytest.approx(2)


def test_all_at_once_is_the_product_of_the_marginals():
  found = written("probability", name="top_n", steps=1)
  table = PROBS.reshape(3, 3)
  product = np.outer(table.sum(axis=1), table.sum(axis=0)).ravel()
  np.testing.assert_allclose(found.probs, product, atol=1e-12)
  assert found.evaluations == 1
  assert found.total_variation(MODEL) == pytest.approx(np.abs(product - PROBS).sum() / 2)
  assert found.divergence(MODEL) == pytest.approx(np.sum(product * np.log(product / PROBS)))


def test_the_likelier_candidate_first_is_another_law():
  """By hand: candidates are independent, the more probable is kept, the other drawn anew."""
  table = PROBS.reshape(3, 3)
  rows, columns = table.sum(axis=1), table.sum(axis=0)
  wanted = np.zeros((3, 3))
  for i in range(3):
    for j in range(3):
      chance = rows[i] * columns[j]
      if rows[i] >= columns[j]:
        wanted[i] += chance * table[i] / rows[i]
      else:
        wanted[:, j] += chance * table[:, j] / columns[j]
  found = written("probability", name="top_n")
  np.testing.assert_allclose(found.probs, wanted.ravel(), atol=1e-12)
  assert found.total_variation(MODEL) > 0.05


def test_a_model_of_random_tokens_doubts_what_is_committed():
  """By hand: the second of two tokens is drawn where half of all tokens are noise. All at once,
  nothing is known of either, so that it makes no difference; and where they are independent."""
  table = PROBS.reshape(3, 3)
  first = table.sum(axis=1)
  noisy = (0.5 * np.eye(3) + 0.5 / 3) @ table
  wanted = first[:, None] * noisy / noisy.sum(axis=1, keepdims=True)
  found = law(MODEL, resolve.make(base.RULES, {"name": "top_n"}), "left_to_right", has_noise=True)
  np.testing.assert_allclose(found.probs, wanted.ravel(), atol=1e-12)
  product = np.outer(first, table.sum(axis=0)).ravel()
  once = resolve.make(base.RULES, {"name": "top_n", "steps": 1})
  np.testing.assert_allclose(law(MODEL, once, "random", has_noise=True).probs, product, atol=1e-12)


def test_the_tables_of_the_readme_are_those_of_the_results(tmp_path):
  results = json.loads((run.HERE / "results.json").read_text())
  assert run.table(results) in (run.HERE / "README.md").read_text()
  run.figure(results, tmp_path / "figure.png")
  assert (tmp_path / "figure.png").stat().st_size > 5000
