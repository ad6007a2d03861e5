"""Rows whose natural order is hidden: a Markov chain, its places shuffled the same way in each row.

The chain is easy to predict along its own order. From left to right a token's neighbours in the
chain come before or after it by chance, so that a model must find the order, or do without one. The
entropy of a row is known.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegativeInt, Positive, PositiveInt
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.synthetic_markov import AlphabetSize, SyntheticMarkov

# Of each split that holds rows out, by the hash of a row: a row lies in one split alone.
_HELD_OUT = 0.1


@dataclass(frozen=True, kw_only=True)
class SyntheticAnyOrder:
  """A document is a row.

  Attributes:
    letters, concentration: of the chain, see `SyntheticMarkov`.
    seed: of the chain, its runs and the order.
    characters: of a document.
    drawn_documents: rows that are drawn and dealt to the splits; a tenth to each that is held out.
  """

  letters: AlphabetSize = 8
  concentration: Positive = 0.1
  seed: NonNegativeInt = 0
  characters: PositiveInt = 24
  drawn_documents: PositiveInt = 20_000

  version = None

  @property
  def splits(self) -> tuple[str, ...]:
    return base.SPLITS

  @property
  def order(self) -> np.ndarray:
    """The place in a row of each step of the chain, int `[characters]`."""
    return np.random.default_rng([self.seed, 0]).permutation(self.characters)

  @property
  def chain(self) -> SyntheticMarkov:
    return SyntheticMarkov(letters=self.letters, concentration=self.concentration, seed=self.seed)

  @property
  def entropy(self) -> float:
    """Nats of a row."""
    return self.chain.window_entropy(self.characters)

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    rng = np.random.default_rng([self.seed, 1])
    uniform = rng.random((self.drawn_documents, self.characters))
    first, rows = np.cumsum(self.chain.stationary), np.cumsum(self.chain.transitions, axis=1)
    places, order = np.empty(uniform.shape, np.uint8), self.order
    state = np.searchsorted(first[:-1], uniform[:, 0])
    for step in range(self.characters):
      if step:
        state = (uniform[:, step, None] > rows[state][:, :-1]).sum(axis=1)
      places[:, order[step]] = state
    letters = np.frombuffer(string.ascii_lowercase.encode(), np.uint8)
    for row in letters[places]:
      text = row.tobytes().decode()
      if base.split_of(text, _HELD_OUT, _HELD_OUT) == split:
        yield text


def make(**fields: object) -> SyntheticAnyOrder:
  return resolve.build(SyntheticAnyOrder, fields)
