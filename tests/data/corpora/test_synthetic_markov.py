from collections import Counter
from itertools import pairwise
from math import log

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import synthetic_markov

CORPUS = synthetic_markov.make(letters=3, seed=4, train_characters=200_000)


def test_the_stationary_distribution_is_stationary():
  pi = CORPUS.stationary
  np.testing.assert_allclose(pi @ CORPUS.transitions, pi, atol=1e-12)
  np.testing.assert_allclose(pi.sum(), 1.0)


def test_entropies_are_those_of_enumerated_windows():
  p, pi = CORPUS.transitions, CORPUS.stationary
  windows = [pi[a] * p[a, b] * p[b, c] for a in range(3) for b in range(3) for c in range(3)]
  entropy = -sum(w * log(w) for w in windows if w > 0)
  assert CORPUS.window_entropy(3) == pytest.approx(entropy, rel=1e-12)
  rate = CORPUS.window_entropy(10) - CORPUS.window_entropy(9)
  assert rate == pytest.approx(CORPUS.entropy_rate)


def test_the_text_has_the_entropy_rate():
  (text,) = CORPUS.documents("train")
  assert len(text) == 200_000
  pairs = Counter(pairwise(text))
  firsts = Counter(text[:-1])
  empirical = -sum(n * log(n / firsts[a]) for (a, _), n in pairs.items()) / (len(text) - 1)
  # The standard error of the mean of 200,000 surprises of about 1 nat is 0.002.
  assert empirical == pytest.approx(CORPUS.entropy_rate, abs=0.01)


def test_splits_are_independent_runs():
  texts = {split: next(CORPUS.documents(split)) for split in CORPUS.splits}
  assert texts["validation"] != texts["test"]
  assert texts["validation"] != texts["train"][: len(texts["validation"])]


def test_fields():
  for fields, match in (({"letters": 27}, "letters must lie"), ({"concentration": 0}, "above 0")):
    with pytest.raises(UserError, match=match):
      synthetic_markov.make(**fields)
