import numpy as np

from dlm_jax.data.tokenizers import byte


def test_ids_are_bytes():
  tokenizer = byte.make()
  assert tokenizer.vocab_size == 256
  np.testing.assert_array_equal(tokenizer.encode("aé\n"), [97, 0xC3, 0xA9, 10])
  assert tokenizer.separator_id == 10


def test_counts_characters_not_bytes():
  tokenizer = byte.make()
  assert tokenizer.count_characters(tokenizer.encode("aé😀")) == 3


def test_a_character_cut_in_half_is_shown():
  tokenizer = byte.make()
  assert tokenizer.decode(tokenizer.encode("aé")[:2]) == "a\ufffd"
