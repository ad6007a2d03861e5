import pickle

import pytest
import tokenizers

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import synthetic_markov, text_files
from dlm_jax.data.tokenizers import hf

CORPUS = synthetic_markov.make(train_characters=2000)


@pytest.fixture
def wordpiece(tmp_path):
  """A local tokenizer.json in the manner of BERT, which would cut off, pad and add symbols."""
  vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat"]
  model = tokenizers.models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]")
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.add_special_tokens(vocabulary[:5])
  tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = tokenizers.decoders.WordPiece()
  tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
  tokenizer.enable_truncation(2)
  tokenizer.enable_padding(length=8)
  path = tmp_path / "wordpiece.json"
  tokenizer.save(str(path))
  return path


def test_trains_a_byte_level_bpe_of_the_size_asked_for():
  tokenizer = hf.make(train_vocab_size=280).fit(CORPUS)
  assert tokenizer.vocab_size == 280
  assert tokenizer.decode(tokenizer.encode("Né 7\n")) == "Né 7\n"
  text = next(CORPUS.documents("train"))
  assert len(tokenizer.encode(text)) < len(text) / 1.5
  assert tokenizer.separator_id == tokenizer.bos_id == tokenizer.eos_id != tokenizer.pad_id
  assert tokenizer == hf.make(train_vocab_size=280).fit(CORPUS)


class Train:
  """A corpus of one document."""

  def __init__(self, text):
    self.text = text

  def documents(self, split):
    yield self.text


def test_a_run_without_a_space_is_trained_on_in_pieces():
  text = "acgtgca" * 200 + " " + "\n" * 1000
  longest = max(map(len, hf._pieces([text])))
  assert "".join(hf._pieces([text])) == text and longest <= 256
  assert list(hf._pieces(["as it is, " * 99])) == ["as it is, " * 99]
  assert hf.make(train_vocab_size=270).fit(Train(text)).decode([258]) in text


def test_text_that_spells_a_control_symbol_is_text():
  text = "a<|endoftext|> b<|pad|>"
  tokenizer = hf.make(train_vocab_size=300).fit(Train(text * 9))
  for one in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
    ids = one.encode(text)
    assert one.decode(ids) == text and not {one.eos_id, one.pad_id} & set(ids.tolist())
    # It is read as any other text is, and not cut where the symbol would stand.
    assert [one.decode([token]) for token in ids[1:4]] == ["<|", "endoftext", "|>"]


def test_nor_is_it_control_where_the_vocabulary_holds_the_symbol_among_its_words():
  pieces = [("<unk>", 0), ("</s>", 0), *((piece, -2) for piece in "▁ab<s>/")]
  library = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
  library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never")
  library.decoder = tokenizers.decoders.Metaspace(prepend_scheme="never")
  library.add_special_tokens(["<unk>", "</s>"])
  tokenizer = hf.make(file="any", definition=library.to_str())
  assert tokenizer.decode(tokenizer.encode("a</s>b</s>")) == "a</s>b</s>"
  assert tokenizer.encode("aé", strict=False).tolist() == [3, 0]
  with pytest.raises(UserError, match="does not know 'é'"):
    tokenizer.encode("aé")


def test_trains_on_the_train_split_alone(tmp_path):
  file = tmp_path / "a.txt"
  file.write_text("\n\n".join(f"zebra{i}" for i in range(100)))
  corpus = text_files.make(paths=str(file), validation=0.5, test=0)

  class Watched:
    def documents(self, split):
      assert split == "train"
      return corpus.documents(split)

  hf.make(train_vocab_size=270).fit(Watched())


def test_reads_a_file_and_finds_its_symbols(wordpiece):
  tokenizer = hf.make(file=str(wordpiece)).fit(CORPUS)
  assert tokenizer.vocab_size == 9
  assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (2, 3, 0)
  assert tokenizer.separator_id == 3
  assert tokenizer.encode("The cats sat").tolist() == [5, 6, 7, 8]
  assert tokenizer.decode([2, 5, 6, 7, 8, 3, 0]) == "the cats sat"


def test_symbols_can_be_chosen(wordpiece):
  tokenizer = hf.make(file=str(wordpiece), separator="[MASK]", pad="[UNK]").fit(CORPUS)
  assert (tokenizer.separator_id, tokenizer.pad_id) == (4, 1)
  with pytest.raises(UserError, match=r"tokenizer\.pad is '\[NO\]'"):
    _ = hf.make(file=str(wordpiece), pad="[NO]").fit(CORPUS).pad_id


def test_refuses_what_it_does_not_know_only_where_strict(wordpiece):
  tokenizer = hf.make(file=str(wordpiece)).fit(CORPUS)
  with pytest.raises(UserError, match="'dog'"):
    tokenizer.encode("the dog sat")
  assert tokenizer.encode("the dog sat", strict=False).tolist() == [5, 1, 8]


def test_a_changed_file_is_another_version(wordpiece):
  before = hf.make(file=str(wordpiece)).version
  wordpiece.write_text(wordpiece.read_text() + " ")
  assert hf.make(file=str(wordpiece)).version != before


def test_needs_exactly_one_source():
  for fields in ({}, {"pretrained": "gpt2", "train_vocab_size": 300}):
    with pytest.raises(UserError, match="exactly one of"):
      hf.make(**fields)
  with pytest.raises(UserError, match="at least 258"):
    hf.make(train_vocab_size=100)


def test_errors_of_files(tmp_path):
  with pytest.raises(UserError, match=r"none\.json cannot be read"):
    hf.make(file=str(tmp_path / "none.json")).fit(CORPUS)
  broken = tmp_path / "broken.json"
  broken.write_text("{}")
  with pytest.raises(UserError, match=r"broken\.json is no tokenizer\.json"):
    _ = hf.make(file=str(broken)).fit(CORPUS).vocab_size


def test_the_hub_out_of_reach(monkeypatch):
  def fail(name):
    raise Exception(f"404 for {name}")

  monkeypatch.setattr(tokenizers.Tokenizer, "from_pretrained", fail)
  with pytest.raises(UserError, match=r"'gpt3' cannot be had from the hub \(404"):
    hf.make(pretrained="gpt3").fit(CORPUS)
