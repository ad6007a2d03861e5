"""Statistics of texts, held against counts by hand."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from dlm_jax.evaluation import text_statistics

A, B = np.array([1, 1, 2, 2]), np.array([1, 2, 1, 2])


def test_the_interval_is_that_of_the_ratio_of_sums():
  found = text_statistics.interval(np.array([2.0, 4, 6]), np.array([1, 1, 2]))
  assert found.value == 3 and 2 <= found.low <= found.value <= found.high <= 4
  draws = np.random.default_rng(0).normal(5, 2, 400)
  mean = text_statistics.interval(draws)
  assert mean.value == pytest.approx(draws.mean())
  # 1.96 standard errors on either side, to the noise of the resampling.
  assert (mean.high - mean.low) / 2 == pytest.approx(1.96 * 2 / 20, rel=0.12)
  assert text_statistics.interval(draws) == mean


def test_intervals_cover_the_truth_as_often_as_they_say():
  generator = np.random.default_rng(1)
  found = [text_statistics.interval(generator.exponential(3.0, 50)) for _ in range(200)]
  covered = np.mean([i.low < 3 < i.high for i in found])
  assert 0.88 < covered < 0.99


def test_both_definitions_of_generative_perplexity():
  nats, tokens = np.log([4.0, 2.0**3, 1.0]) * [1, 1, 1], np.array([1, 3, 0])
  found = text_statistics.generative_perplexity(nats, tokens)
  assert found["over_tokens"].value == pytest.approx(math.exp(math.log(32) / 4))
  assert found["mean_over_sequences"].value == pytest.approx(3)


def test_entropy_is_that_within_a_sequence():
  assert text_statistics.entropy([A, np.array([5, 5])]).value == pytest.approx(math.log(2) / 2)
  assert text_statistics.entropy([np.arange(8)]).value == pytest.approx(math.log(8))


def test_repetition_and_distinct():
  # Bigrams: 11 12 22 | 12 21 12, of which one repeats in its sequence; 11 12 22 21 differ.
  assert text_statistics.repetition([A, B], 2).value == pytest.approx(1 / 6)
  found = text_statistics.distinct([A, B], 2)
  assert found.value == pytest.approx(4 / 6) and found.low < found.value < found.high
  assert text_statistics.distinct([A] * 5, 2).value == pytest.approx(3 / 15)
  assert math.isnan(text_statistics.distinct([A[:1]], 2).value)


def test_the_jackknife_of_distinct_agrees_with_leaving_out():
  generator = np.random.default_rng(0)
  rows = [generator.integers(0, 4, 6) for _ in range(12)]
  left = np.array([text_statistics.distinct(rows[:i] + rows[i + 1 :], 2).value for i in range(12)])
  error = math.sqrt(11 / 12 * np.sum((left - left.mean()) ** 2))
  found = text_statistics.distinct(rows, 2)
  assert found.high - found.value == pytest.approx(1.96 * error)


def test_self_bleu():
  assert text_statistics.self_bleu([A, A, A]).value == pytest.approx(1)
  # Nothing in common: only the smoothing of bigrams and beyond is left.
  assert text_statistics.self_bleu([np.array([1, 2, 3, 4]), np.array([5, 6, 7, 8])]).value < 0.01
  # By hand, for order 2: A against B. 1-grams 4/4; of 11 12 22 one is in B, plus one: 2/4.
  # B against A: 1-grams 4/4; of 12 21 12 one clipped, plus one: 2/4.
  assert text_statistics.self_bleu([A, B], order=2).value == pytest.approx(math.sqrt(0.5))
  # A count that is largest in one's own sequence is clipped to that of the others.
  other = np.array([1, 3, 3, 3])
  assert text_statistics.self_bleu([np.array([1, 1, 1, 1]), other], order=1).value == pytest.approx(
    1 / 4
  )


def test_copied_counts_the_n_grams_of_the_training_set():
  training = [np.array([9, 1, 1, 2]), np.array([2, 1])]
  assert text_statistics.copied([A, B], training, 2).value == pytest.approx(
    (2 + 3) / 6
  )  # 11 12 | 12 21 12
  assert text_statistics.copied([A], training, 3).value == pytest.approx(1 / 2)
  assert text_statistics.copied([A], [np.array([1]), np.array([1, 2])], 3).value == 0
  long = np.random.default_rng(0).integers(0, 50_000, 5000)
  assert text_statistics.copied([long[100:200]], [long], 8).value == 1
  assert text_statistics.copied([long[::-1][:100]], [long], 8).value == 0


def test_spelled_leaves_out_the_words_that_the_window_cut():
  vocabulary = {"the", "cat"}
  assert text_statistics.spelled(["at the  cat dgo th"], vocabulary).value == pytest.approx(2 / 3)
  assert math.isnan(text_statistics.spelled(["one two"], vocabulary).value)


def test_mauve_where_its_package_is_there(monkeypatch):
  monkeypatch.setitem(sys.modules, "mauve", None)
  monkeypatch.setattr(text_statistics.importlib.util, "find_spec", lambda name: None)
  assert text_statistics.mauve(["a"], ["b"]) == {
    "value": None,
    "reason": "the package mauve-text is not installed",
  }
  seen = {}

  def compute_mauve(**arguments):
    seen.update(arguments)
    return SimpleNamespace(mauve=np.float32(0.5))

  monkeypatch.setattr(text_statistics.importlib.util, "find_spec", lambda name: object())
  monkeypatch.setitem(sys.modules, "mauve", SimpleNamespace(compute_mauve=compute_mauve))
  assert text_statistics.mauve(["drawn"], ["text"]) == {"value": 0.5}
  assert (seen["q_text"], seen["p_text"]) == (["drawn"], ["text"])
