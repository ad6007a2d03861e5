"""What every corpus and every tokenizer keeps to. The modules are found by themselves."""

import itertools
import pickle

import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora.base import Paired
from dlm_jax.data.tokenizers import base

CORPORA = resolve.names("dlm_jax.data.corpora")
TOKENIZERS = resolve.names("dlm_jax.data.tokenizers")
TEXT = "the cat sat on the mat and ate it"


@pytest.fixture
def corpus(request, tmp_path):
  return _corpus(request.param, tmp_path)


def _corpus(name, tmp_path):
  """A small corpus of that name. A new corpus whose defaults are not local belongs here."""
  text = tmp_path / "text.txt"
  text.write_text("\n\n".join(f"{TEXT} number {i}" for i in range(200)))
  rows = tmp_path / "rows.jsonl"
  rows.write_text("".join(f'{{"text": "{TEXT} {i}"}}\n' for i in range(50)))
  stream = tmp_path / "text8"
  stream.write_text(f"{TEXT} " * 10)
  asked = tmp_path / "pairs.jsonl"
  asked.write_text("".join(f'{{"prompt": "{i}: ", "answer": "{TEXT}"}}\n' for i in range(200)))
  size = len(TEXT) + 1
  few = {"train_pairs": 40, "validation_pairs": 10, "test_pairs": 10}
  generated = ("arithmetic", "path_star", "planning", "sudoku")
  fields = {
    **dict.fromkeys(generated, few),
    "pairs": {"paths": str(asked)},
    "fill_in_the_middle": {"paths": str(text), "characters": 16},
    "synthetic_any_order": {"drawn_documents": 100},
    "text_files": {"paths": str(text)},
    "hf_dataset": {"files": {"train": str(rows)}, "held_out": 10, "streaming": True},
    "text8": {
      "path": str(stream),
      "train_characters": 8 * size,
      "validation_characters": size,
      "test_characters": size,
    },
    "synthetic_markov": {"train_characters": 1000, "validation_characters": 100},
  }
  return resolve.make("dlm_jax.data.corpora", {"name": name, **fields.get(name, {})})


def _tokenizer(name, tmp_path):
  fields = {"hf": {"train_vocab_size": 300}}
  tokenizer = resolve.make("dlm_jax.data.tokenizers", {"name": name, **fields.get(name, {})})
  return tokenizer.fit(_corpus("text_files", tmp_path))


@pytest.mark.parametrize("corpus", CORPORA, indirect=True)
class TestCorpus:
  def test_has_text_in_each_split(self, corpus):
    assert "train" in corpus.splits
    assert set(corpus.splits) <= {"train", "validation", "test"}
    for split in corpus.splits:
      assert any(document.strip() for document in corpus.documents(split))

  def test_no_prompt_is_in_two_splits(self, corpus):
    if not isinstance(corpus, Paired):
      return
    prompts = {}
    for split in corpus.splits:
      pairs = list(corpus.pairs(split))
      assert list(corpus.documents(split)) == [prompt + answer for prompt, answer in pairs]
      prompts[split] = {prompt for prompt, _ in pairs}
    for one, other in itertools.combinations(prompts.values(), 2):
      assert not one & other

  def test_streams_the_same_documents_each_time(self, corpus):
    assert list(corpus.documents("train")) == list(corpus.documents("train"))

  def test_refuses_an_unknown_split(self, corpus):
    with pytest.raises(UserError, match=r"no split 'validaton'.*Its splits are train"):
      next(iter(corpus.documents("validaton")))

  def test_is_a_value(self, corpus):
    assert corpus == pickle.loads(pickle.dumps(corpus))
    with pytest.raises(AttributeError):
      corpus.seed = 1

  def test_names_an_unknown_field(self, corpus):
    name = type(corpus).__module__.rpartition(".")[2]
    with pytest.raises(UserError, match="has no field 'validatoin'"):
      resolve.make("dlm_jax.data.corpora", {"name": name, "validatoin": 0.1})


@pytest.mark.parametrize("name", TOKENIZERS)
class TestTokenizer:
  def test_round_trip(self, name, tmp_path):
    tokenizer = _tokenizer(name, tmp_path)
    for strict in (True, False):
      ids = tokenizer.encode(TEXT, strict=strict)
      assert ids.dtype == np.int32
      assert ids.min() >= 0
      assert ids.max() < tokenizer.vocab_size
      assert tokenizer.decode(ids) == TEXT

  def test_keeps_the_spaces_of_a_prompt(self, name, tmp_path):
    tokenizer = _tokenizer(name, tmp_path)
    assert tokenizer.decode(tokenizer.encode(" the cat  ", strict=True)) == " the cat  "
    assert len(tokenizer.encode("", strict=True)) == 0

  def test_counts_the_characters_it_decodes(self, name, tmp_path):
    tokenizer = _tokenizer(name, tmp_path).with_special(("bos", "eos"))
    ids = tokenizer.encode(TEXT)
    ids = np.concatenate([[tokenizer.bos_id], ids, [tokenizer.eos_id]])
    assert tokenizer.count_characters(ids) == len(TEXT)
    assert tokenizer.decode(ids) == TEXT

  def test_save_and_load(self, name, tmp_path):
    tokenizer = _tokenizer(name, tmp_path).with_special(("bos", "pad"))
    base.save(tokenizer, tmp_path)
    loaded = base.from_definition(base.load_definition(tmp_path))
    assert loaded == tokenizer
    np.testing.assert_array_equal(loaded.encode(TEXT), tokenizer.encode(TEXT))
    assert (loaded.vocab_size, loaded.pad_id) == (tokenizer.vocab_size, tokenizer.pad_id)

  def test_pickles(self, name, tmp_path):
    tokenizer = _tokenizer(name, tmp_path)
    tokenizer.encode(TEXT)
    copy = pickle.loads(pickle.dumps(tokenizer))
    np.testing.assert_array_equal(copy.encode(TEXT), tokenizer.encode(TEXT))

  def test_special_symbols_are_ids_of_their_own(self, name, tmp_path):
    tokenizer = _tokenizer(name, tmp_path).with_special(("bos", "eos", "pad"))
    text = set(tokenizer.encode(TEXT).tolist())
    for special in (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id):
      assert 0 <= special < tokenizer.vocab_size
      assert special not in text
