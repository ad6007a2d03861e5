"""Windows of text with their middle moved to the end (Bavarian et al. 2022).

A window `the cat sat on the mat` becomes `the cat| the mat| sat on`: trained on it, a model that
writes from left to right fills in a middle with both sides before it. The text is folded to the
letters a to z and the space, so that the sign between the parts is no text.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import NonNegativeInt, PositiveInt, ProperFraction
from dlm_jax.data.corpora import base, stdlib_docs, text_files
from dlm_jax.data.corpora.base import Corpus
from dlm_jax.data.tokenizers import letters

SIGN = "|"


@dataclass(frozen=True, kw_only=True)
class FillInTheMiddle:
  """A document is a window of joined documents; what fills no window is dropped.

  Attributes:
    paths: text files, as of `text_files`; the embedded corpus `stdlib_docs` if there are none.
    characters: of a window; a document has two signs more.
    least, most: shares of a window between which the length of its middle is drawn.
    seed: of the middles.
  """

  paths: tuple[str, ...] = ()
  characters: PositiveInt = 64
  least: ProperFraction = 0.1
  most: ProperFraction = 0.5
  seed: NonNegativeInt = 0

  def __post_init__(self) -> None:
    if self.least > self.most:
      raise UserError(
        f"corpus.least {self.least} is above corpus.most {self.most}: a middle lies between them, "
        "so lower the first."
      )

  @property
  def inner(self) -> Corpus:
    """The corpus whose text it is."""
    return text_files.make(paths=self.paths) if self.paths else stdlib_docs.make()

  @property
  def splits(self) -> tuple[str, ...]:
    return self.inner.splits

  @property
  def version(self) -> object:
    return self.inner.version

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    rng, rest = random.Random(f"{self.seed} {split}"), ""
    for document in self.inner.documents(split):
      rest += letters.fold(document).decode() + " "
      for start in range(0, len(rest) - self.characters + 1, self.characters):
        window = rest[start : start + self.characters]
        size = max(round(rng.uniform(self.least, self.most) * self.characters), 1)
        first = rng.randrange(self.characters - size + 1)
        yield moved(window, first, first + size)
      rest = rest[len(rest) // self.characters * self.characters :]


def make(*, paths: str | Sequence[str] = (), **fields: object) -> FillInTheMiddle:
  """Builds the corpus; `paths` is one path or glob, or several."""
  paths = (paths,) if isinstance(paths, str) else tuple(paths)
  return resolve.build(FillInTheMiddle, {"paths": paths, **fields})


def moved(window: str, first: int, end: int) -> str:
  """The window with its characters from `first` to before `end` behind the rest."""
  return SIGN.join((window[:first], window[end:], window[first:end]))
