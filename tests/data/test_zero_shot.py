"""Text of other corpora, as the tokenizer of a model reads it."""

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import zero_shot
from dlm_jax.data.tokenizers import character, letters


@pytest.fixture
def path(tmp_path):
  file = tmp_path / "other.txt"
  file.write_text("the first document\n\nand the second one\n", encoding="utf-8")
  return str(file)


def test_files_are_packed_as_in_training_with_the_model_s_tokenizer(path):
  tokenizer = letters.make()
  foreign = zero_shot.prepare(
    zero_shot.protocol(path), tokenizer, length=8, trained_packing="stream"
  )
  text = "".join(tokenizer.decode(row["tokens"]) for row in map(foreign.rows.__getitem__, range(4)))
  assert text == "the first document and the second one"[:32]
  assert foreign.characters_per_token == 1
  described = foreign.protocol
  assert described["packing"] == "stream" and described["windows"] == "disjoint, of 8 tokens"
  assert described["counts"]["documents"] == 2 and described["counts"]["rows"] == 4
  other = zero_shot.prepare(zero_shot.protocol(path), tokenizer, length=6, trained_packing="stream")
  assert other.protocol["sha256"] != foreign.protocol["sha256"]


def test_padded_rows_keep_their_padding_out_of_the_score(path):
  tokenizer = letters.make().with_special(("pad",))
  foreign = zero_shot.prepare(
    zero_shot.protocol(path), tokenizer, length=20, trained_packing="padded"
  )
  np.testing.assert_array_equal(foreign.rows[:]["given"].sum(axis=1), [2, 2])


@pytest.mark.parametrize(
  ("name", "text", "expected"),
  [
    (
      "wikitext",
      " the 1 @,@ 000 well @-@ known 3 @.@ 5 ( a ) , and b .",
      " the 1,000 well-known 3.5 (a), and b.",
    ),
    ("wikitext", 'he said " no way " .', 'he said "no way".'),
    ("penn", "it does n't matter , he 's `` fine '' .", "it doesn't matter, he's \"fine\"."),
    ("quotes", "“ so ” ‘ it ’", "\" so \" ' it '"),
    ("none", "as it , is", "as it , is"),
  ],
)
def test_detokenizers(name, text, expected):
  assert zero_shot.DETOKENIZERS[name](text) == expected


def test_every_protocol_names_parts_that_exist():
  for protocol in zero_shot.PROTOCOLS.values():
    assert protocol.detokenizer in zero_shot.DETOKENIZERS
    assert zero_shot.resolve.make("dlm_jax.data.corpora", protocol.corpus).splits == ("train",)


def test_mistakes(path):
  with pytest.raises(UserError, match="did you mean 'wikitext103'"):
    zero_shot.protocol("wikitext10")
  with pytest.raises(UserError, match="neither a file nor a known corpus"):
    zero_shot.protocol("nowhere.txt")
  with pytest.raises(UserError, match="outside the 3 of its alphabet"):
    zero_shot.prepare(
      zero_shot.protocol(path), character.make(alphabet="abc"), length=8, trained_packing="stream"
    )
