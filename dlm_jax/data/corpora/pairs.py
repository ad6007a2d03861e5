"""Your own prompts and answers: JSONL files with `{"prompt": "..", "answer": ".."}` a line."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dlm_jax.core.errors import UserError
from dlm_jax.data import reading
from dlm_jax.data.corpora import base, local_files
from dlm_jax.data.corpora.base import Pair
from dlm_jax.data.corpora.local_files import LocalFiles


@dataclass(frozen=True, kw_only=True)
class Pairs(LocalFiles):
  """Pairs of JSONL files, held out by the hash of the prompt: one prompt lies in one split.

  Attributes:
    validation, test: fractions of the prompts held out.
  """

  def pairs(self, split: str) -> Iterator[Pair]:
    base.check_split(self, split)
    for path in self.files():
      for number, line in enumerate(reading.lines(path), start=1):
        if line.strip():
          pair = _read(f"line {number} of {path}", line)
          if self.split_of(pair.prompt) == split:
            yield pair

  def documents(self, split: str) -> Iterator[str]:
    return (pair.prompt + pair.answer for pair in self.pairs(split))


def make(*, paths: str | Sequence[str] = (), **fields: object) -> Pairs:
  """Builds the corpus; `paths` is one path or glob, or several."""
  return local_files.build(Pairs, paths, **fields)


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
