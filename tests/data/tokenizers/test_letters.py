import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.tokenizers import letters


@pytest.mark.parametrize(
  ("text", "folded"),
  [
    ("The Cat, sat.", "the cat sat"),
    ("in 1984", "in one nine eight four"),
    ("a\n\n b\t-- c", "a b c"),
    ("naïve café", "na ve caf"),
    ("x2y", "x two y"),
    ("\u212a2", "two"),  # the Kelvin sign is no k: Mahoney's script sees bytes
    ("...", ""),
  ],
)
def test_folds_as_mahoney(text, folded):
  assert letters.fold(text) == folded.encode()
  tokenizer = letters.make()
  assert tokenizer.decode(tokenizer.encode(text, strict=False)) == folded


def test_keeps_each_character_of_text8():
  assert letters.fold(" anarchism originated ") == b" anarchism originated "


def test_ids_are_the_space_and_then_the_letters():
  tokenizer = letters.make()
  assert tokenizer.vocab_size == 27
  assert tokenizer.separator_id == 0
  assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, None, None)
  np.testing.assert_array_equal(tokenizer.encode(" az"), [0, 1, 26])


def test_a_prompt_is_lowered_and_otherwise_refused():
  tokenizer = letters.make()
  assert tokenizer.decode(tokenizer.encode("The ")) == "the "
  with pytest.raises(UserError, match=r"'!' '7'"):
    tokenizer.encode("the 7!")


def test_special_symbols_only_where_asked_for():
  tokenizer = letters.make().with_special(("bos", "eos"))
  assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (29, 27, 28)
  assert tokenizer.pad_id is None
  assert tokenizer.with_special(("bos", "pad")).special == ("bos", "eos", "pad")
  with pytest.raises(UserError, match="special"):
    letters.make(special=("mask",))
