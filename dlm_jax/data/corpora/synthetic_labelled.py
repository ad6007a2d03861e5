"""Labelled text: each document is a run of the Markov chain that its label names.

It judges conditional models: the entropy of each chain is known, and the label says which it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegativeInt, Positive, PositiveInt
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.synthetic_markov import AlphabetSize, SyntheticMarkov


@dataclass(frozen=True)
class SyntheticLabelled:
  """The labels take turns; all documents are equally long.

  Attributes:
    num_labels: chains.
    letters, concentration: of each chain, see `SyntheticMarkov`.
    seed: of the chains and of their runs.
    characters: of a document.
    train_documents, validation_documents, test_documents: of the splits.
  """

  num_labels: PositiveInt = 2
  letters: AlphabetSize = 4
  concentration: Positive = 0.5
  seed: NonNegativeInt = 0
  characters: PositiveInt = 16
  train_documents: PositiveInt = 10_000
  validation_documents: PositiveInt = 1000
  test_documents: PositiveInt = 1000

  version = None

  @property
  def splits(self) -> tuple[str, ...]:
    return base.SPLITS

  def chain(self, label: int) -> SyntheticMarkov:
    """The chain of a label, its splits as long as all documents of that label need."""
    shared = -(-self._documents("train") // self.num_labels) * self.characters
    held_out = max(self._documents("validation"), self._documents("test")) * self.characters
    return SyntheticMarkov(
      letters=self.letters,
      concentration=self.concentration,
      seed=self.seed * self.num_labels + label,
      train_characters=shared,
      validation_characters=held_out,
      test_characters=held_out,
    )

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    runs = ["".join(self.chain(label).documents(split)) for label in range(self.num_labels)]
    for index, label in enumerate(self.labels(split)):
      start = index // self.num_labels * self.characters
      yield runs[label][start : start + self.characters]

  def labels(self, split: str) -> Iterator[int]:
    base.check_split(self, split)
    return (index % self.num_labels for index in range(self._documents(split)))

  def _documents(self, split: str) -> int:
    counts = (self.train_documents, self.validation_documents, self.test_documents)
    return dict(zip(base.SPLITS, counts, strict=True))[split]


def make(**fields: object) -> SyntheticLabelled:
  return resolve.build(SyntheticLabelled, fields)
