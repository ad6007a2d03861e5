"""What a tokenizer is, and how one is saved: as JSON, exactly."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.json_files import read_object
from dlm_jax.core.types import Fields, Json, Record
from dlm_jax.data.corpora.base import Corpus

FILE = "tokenizer.json"
SPECIAL = ("bos", "eos", "pad")


class Tokenizer(Protocol):
  """A frozen dataclass that pickles; its fields are those of `config.data.tokenizer`.

  The mask is no symbol of the tokenizer: it belongs to the process.
  """

  __dataclass_fields__: ClassVar[dict[str, dataclasses.Field]]

  @property
  def vocab_size(self) -> int:
    """Ids are 0..vocab_size-1."""
    ...

  @property
  def separator_id(self) -> int | None:
    """Stands between the documents of a stream; None where there is no such symbol."""
    ...

  @property
  def bos_id(self) -> int | None:
    """Begins a row; None where there is no such symbol."""
    ...

  @property
  def eos_id(self) -> int | None:
    """Ends a text; None where there is no such symbol."""
    ...

  @property
  def pad_id(self) -> int | None:
    """Fills a row up; None where there is no such symbol."""
    ...

  @property
  def version(self) -> object:
    """What else the tokenizer depends on before `fit`, as JSON."""
    ...

  def fit(self, corpus: Corpus) -> Self:
    """The tokenizer with what it learns from the corpus; itself if there is nothing to learn."""
    ...

  def with_special(self, names: tuple[str, ...]) -> Self:
    """The tokenizer with those of `bos`, `eos` and `pad` that it can add; the others stay None."""
    ...

  def encode(self, text: str, strict: bool = True) -> np.ndarray:
    """Ids int32 `[n]` of the text.

    No text has the id of a special symbol, even if it spells one.

    `strict` is for text from a person, such as a prompt: it is encoded as it stands. Otherwise the
    text is a document of a corpus, and the tokenizer may simplify it first.

    Raises:
      UserError: some characters have no id; it names them.
    """
    ...

  def decode(self, ids: np.ndarray) -> str:
    """The text of ids `[n]`; special symbols have none."""
    ...

  def count_characters(self, ids: np.ndarray) -> int:
    """How many characters `decode(ids)` has."""
    ...


@dataclass(frozen=True, kw_only=True)
class AppendedSpecials:
  """Special symbols after those of the text, and only the ones that the packing asks for.

  Attributes:
    special: which of `bos`, `eos` and `pad`, in the order of their ids.
  """

  special: tuple[str, ...] = ()

  version: ClassVar[None] = None

  def __post_init__(self) -> None:
    for name in self.special:
      if name not in SPECIAL or self.special.count(name) > 1:
        raise UserError(
          f"tokenizer.special is {list(self.special)}: it names each of {', '.join(SPECIAL)} at "
          "most once."
        )

  @property
  def num_symbols(self) -> int:
    """Of the text alone."""
    raise NotImplementedError

  @property
  def vocab_size(self) -> int:
    return self.num_symbols + len(self.special)

  @property
  def bos_id(self) -> int | None:
    return self._special_id("bos")

  @property
  def eos_id(self) -> int | None:
    return self._special_id("eos")

  @property
  def pad_id(self) -> int | None:
    return self._special_id("pad")

  def with_special(self, names: tuple[str, ...]) -> Self:
    missing = tuple(name for name in names if name not in self.special)
    return dataclasses.replace(self, special=self.special + missing)

  def of_text(self, ids: np.ndarray) -> np.ndarray:
    """The ids that are no special symbols."""
    ids = np.asarray(ids)
    return ids[ids < self.num_symbols]

  def _special_id(self, name: str) -> int | None:
    return self.num_symbols + self.special.index(name) if name in self.special else None


def definition(tokenizer: Tokenizer) -> dict[str, Json]:
  """The config that makes this tokenizer as it is, with what it has learned."""
  return {"name": resolve.name_of(tokenizer), **dataclasses.asdict(tokenizer)}


def from_definition(definition: Fields) -> Tokenizer:
  """The tokenizer of a `definition`; it needs nothing of the corpus that it was fitted to."""
  return resolve.make("dlm_jax.data.tokenizers", definition)


def save(tokenizer: Tokenizer, directory: str | Path) -> None:
  """Writes the tokenizer to `<directory>/tokenizer.json`."""
  path = Path(directory) / FILE
  path.write_text(json.dumps(definition(tokenizer), indent=1), encoding="utf-8")


def load_definition(directory: str | Path) -> Record:
  """The `definition` that `save` wrote. Raises `UserError` if it is not there or no JSON object."""
  way_out = f"Delete {directory} and prepare the data again."
  return read_object(Path(directory) / FILE, {"name": str}, way_out=way_out)


def refuse(characters: Iterable[str], alphabet: str, way_out: str) -> UserError:
  """The error for characters that have no id."""
  named = " ".join(repr(c) for c in sorted(set(characters)))
  return UserError(f"the text has characters outside {alphabet}: {named}. {way_out}")
