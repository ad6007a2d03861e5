"""Your own prompts and answers: JSONL files with `{"prompt": "..", "answer": ".."}` a line."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import Fraction
from dlm_jax.data import reading
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.base import Pair


@dataclass(frozen=True)
class Pairs:
  """Pairs of JSONL files, held out by the hash of the prompt: one prompt lies in one split.

  Attributes:
    paths: files and globs, read in sorted order, plain or compressed.
    validation, test: fractions of the prompts held out.
  """

  paths: tuple[str, ...]
  validation: Fraction = 0.05
  test: Fraction = 0.05

  def __post_init__(self) -> None:
    base.check_fractions(self.validation, self.test)
    if not self.paths:
      raise UserError("corpus.paths is empty: give it JSONL files or globs.")

  @property
  def splits(self) -> tuple[str, ...]:
    return base.split_names(self.validation, self.test)

  @property
  def version(self) -> list[list[str | int]]:
    """Of each file, see `base.file_versions`: a file with other text is another corpus."""
    return base.file_versions(base.files(self.paths))

  def pairs(self, split: str) -> Iterator[Pair]:
    base.check_split(self, split)
    for path in base.files(self.paths):
      for number, line in enumerate(reading.lines(path), start=1):
        if line.strip():
          pair = _read(f"line {number} of {path}", line)
          if base.split_of(pair.prompt, self.validation, self.test) == split:
            yield pair

  def documents(self, split: str) -> Iterator[str]:
    return (pair.prompt + pair.answer for pair in self.pairs(split))


def make(*, paths: str | Sequence[str] = (), **fields: object) -> Pairs:
  """Builds the corpus; `paths` is one path or glob, or several."""
  paths = (paths,) if isinstance(paths, str) else tuple(paths)
  return resolve.build(Pairs, {"paths": paths, **fields})


def _read(name: str, line: str) -> Pair:
  """The pair of a line; other fields of the object are left alone."""
  try:
    value = json.loads(line)
  except ValueError:
    value = None
  if isinstance(value, dict):
    pair = value.get("prompt"), value.get("answer")
    if isinstance(pair[0], str) and isinstance(pair[1], str):
      return Pair(*pair)
  raise UserError(
    f'{name} must be an object with two texts, {{"prompt": "..", "answer": ".."}}, got '
    f"{line.strip()!r:.80}."
  )
