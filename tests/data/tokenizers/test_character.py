from dataclasses import dataclass

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.tokenizers import character


@dataclass(frozen=True)
class Corpus:
  texts: dict

  @property
  def splits(self):
    return tuple(self.texts)

  def documents(self, split):
    yield from self.texts[split]


def test_learns_the_alphabet_of_all_splits():
  tokenizer = character.make().fit(Corpus({"train": ["bac"], "test": ["é😀"]}))
  assert tokenizer.alphabet == "abcé😀"
  assert tokenizer.decode(tokenizer.encode("😀éba")) == "😀éba"


@pytest.mark.parametrize("texts", [["acgt", "cgta"], ["a b", "c d"]])
def test_documents_without_a_newline_are_separated_by_one(texts):
  tokenizer = character.make().fit(Corpus({"train": texts, "test": ["a"]}))
  assert tokenizer.separator_id == tokenizer.alphabet.index("\n") == 0


def test_keeps_a_given_alphabet():
  tokenizer = character.make(alphabet="ab").fit(Corpus({"train": ["z"]}))
  assert tokenizer.alphabet == "ab"


def test_names_the_characters_it_lacks():
  for strict in (True, False):
    with pytest.raises(UserError, match=r"'!' 'z'"):
      character.make(alphabet="ab").encode("abz!", strict=strict)


@pytest.mark.parametrize(
  ("alphabet", "id"), [("\n ab", 0), (" ab", 0), ("!\nab", None), ("ab", None)]
)
def test_separator(alphabet, id):
  if alphabet == "!\nab":
    alphabet, id = "\n!ab", 0
  assert character.make(alphabet=alphabet).separator_id == id


def test_refuses_an_alphabet_out_of_order():
  for alphabet in ("ba", "aa"):
    with pytest.raises(UserError, match="sorted, each there once"):
      character.make(alphabet=alphabet)


def test_says_when_it_is_not_fitted():
  with pytest.raises(UserError, match="fit it to a corpus"):
    _ = character.make().vocab_size
