"""Text of a random first-order Markov chain over letters, whose entropy is known.

It judges a bound against the truth: no model can do better than the entropy.
"""

import string
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegativeInt, Positive, PositiveInt, Range
from dlm_jax.data.corpora import base

# How many letters of the alphabet.
AlphabetSize = Annotated[int, Range(at_least=2, at_most=26)]
# Random numbers drawn at once.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class SyntheticMarkov:
  """Each split is one document, an independent run of the chain from its stationary distribution.

  Attributes:
    letters: k, the first k of the alphabet.
    concentration: of the Dirichlet distribution of each row of the transition matrix; the smaller,
      the more predictable is the next letter.
    seed: of the chain and of its runs.
    train_characters, validation_characters, test_characters: letters of the splits.
  """

  letters: AlphabetSize = 4
  concentration: Positive = 0.5
  seed: NonNegativeInt = 0
  train_characters: PositiveInt = 100_000
  validation_characters: PositiveInt = 10_000
  test_characters: PositiveInt = 10_000

  version = None

  @property
  def splits(self) -> tuple[str, ...]:
    return base.SPLITS

  @property
  def transitions(self) -> np.ndarray:
    """P[i, j] = p(next is j | this is i), float64 `[k, k]`."""
    rng = np.random.default_rng([self.seed, 0])
    return rng.dirichlet([self.concentration] * self.letters, self.letters)

  @property
  def stationary(self) -> np.ndarray:
    """The distribution pi with pi P = pi, float64 `[k]`."""
    balance = self.transitions.T - np.eye(self.letters)
    system = np.vstack([balance, np.ones(self.letters)])
    return np.linalg.lstsq(system, np.append(np.zeros(self.letters), 1.0))[0]

  @property
  def entropy_rate(self) -> float:
    """-sum_ij pi_i P_ij log P_ij, nats a letter (Cover and Thomas, theorem 4.2.4)."""
    return float(self.stationary @ _entropy(self.transitions))

  def window_entropy(self, length: int) -> float:
    """Nats of a window of `length` letters: that of the first, and the rate for each further."""
    return float(_entropy(self.stationary)) + (length - 1) * self.entropy_rate

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    sizes = (self.train_characters, self.validation_characters, self.test_characters)
    index = self.splits.index(split)
    rng = np.random.default_rng([self.seed, 1 + index])
    yield "".join(string.ascii_lowercase[state] for state in self._run(rng, sizes[index]))

  def _run(self, rng: np.random.Generator, steps: int) -> Iterator[int]:
    """States of the chain, by inversion of its cumulative distributions."""
    # Without their last column, which is 1 up to rounding: a bisection ends in 0..k-1.
    rows = np.cumsum(self.transitions, axis=1)[:, :-1].tolist()
    row = np.cumsum(self.stationary)[:-1].tolist()
    for start in range(0, steps, _BLOCK):
      for u in rng.random(min(_BLOCK, steps - start)).tolist():
        state = bisect(row, u)
        row = rows[state]
        yield state


def make(**fields: object) -> SyntheticMarkov:
  return resolve.build(SyntheticMarkov, fields)


def _entropy(p: np.ndarray) -> np.ndarray:
  """-sum p log p over the last axis, nats."""
  return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
