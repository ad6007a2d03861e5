"""Text of other corpora, as the tokenizer of a model reads it."""

import dataclasses

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import zero_shot
from dlm_jax.data.positions import ScoredPositions
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


def test_documents_are_joined_with_or_without_a_separator(path):
  tokenizer = letters.make()
  joined = dataclasses.replace(zero_shot.protocol(path), separated=False)
  foreign = zero_shot.prepare(joined, tokenizer, length=36, trained_packing="stream")
  text = tokenizer.decode(foreign.rows[0]["tokens"])
  assert text == "the first documentand the second one"
  assert foreign.characters_per_token == 1 and foreign.protocol["separated"] is False


def test_only_what_is_scored_counts(path):
  tokenizer = letters.make().with_special(("bos", "eos"))
  foreign = zero_shot.prepare(
    zero_shot.protocol(path),
    tokenizer,
    length=8,
    trained_packing="wrapped",
    positions=ScoredPositions("after_first"),
  )
  assert foreign.rows[0]["given"].tolist() == [True] + [False] * 7
  assert foreign.characters_per_token == 6 / 7


def test_every_protocol_names_parts_that_exist():
  assert len(zero_shot.PROTOCOLS) == 8
  for name, protocol in zero_shot.PROTOCOLS.items():
    assert protocol.name == name and protocol.detokenizer in zero_shot.DETOKENIZERS
    held_out = protocol is zero_shot.OPENWEBTEXT  # of a training split, packed as in training
    assert protocol.split in (["train[-100000:]"] if held_out else ["validation", "test"])
    assert protocol.separated == held_out
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
