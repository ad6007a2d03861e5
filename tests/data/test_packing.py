import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import packing
from dlm_jax.data.tokenizers import byte, character

TOKENIZER = character.make(alphabet=" abc", special=("bos", "eos", "pad"))  # 4, 5 and 6


def _pack(name, texts, length, tokenizer=TOKENIZER):
  documents = [tokenizer.encode(text).astype(np.uint8) for text in texts]
  rows = list(packing.find(name).pack(iter(documents), length, tokenizer))
  assert all(part.tokens.dtype == np.uint8 for part in rows)
  return rows


def _tokens(rows):
  return np.concatenate([part.tokens for part in rows]).tolist()


# So that documents are packed in one group, and in several.
@pytest.fixture(params=[1, 3, 1 << 20], autouse=True)
def _group(request, monkeypatch):
  monkeypatch.setattr(packing, "_GROUP_TOKENS", request.param)


def test_stream_joins_cuts_and_drops_the_rest():
  rows = _pack("stream", ["abc", "a", "bb", "cc"], 4)
  assert _tokens(rows) == [[1, 2, 3, 0], [1, 0, 2, 2]]  # " cc" is left
  assert all(part.lengths is None for part in rows)


def test_stream_of_one_long_document():
  assert _tokens(_pack("stream", ["abcabcabc"], 2)) == [[1, 2], [3, 1], [2, 3], [1, 2]]


def test_wrapped_puts_windows_between_begin_and_end():
  assert _tokens(_pack("wrapped", ["abc", "a", "c"], 5)) == [[4, 1, 2, 3, 5], [4, 0, 1, 0, 5]]


def test_padded_is_a_document_a_row():
  rows = _pack("padded", ["ab", "abca", "c"], 3)
  assert _tokens(rows) == [[1, 2, 6], [1, 2, 3], [3, 6, 6]]
  assert np.concatenate([part.lengths for part in rows]).tolist() == [2, 3, 1]


def test_wrapped_padded_is_a_document_a_row_between_begin_and_end():
  rows = _pack("wrapped_padded", ["ab", "abca", "c"], 4)
  assert _tokens(rows) == [[4, 1, 2, 5], [4, 1, 2, 5], [4, 3, 5, 6]]
  assert np.concatenate([part.lengths for part in rows]).tolist() == [4, 4, 3]
  assert packing.find("wrapped_padded").begins and not packing.find("padded").begins


@pytest.mark.parametrize("name", sorted(packing.PACKINGS.keys() - {packing.PAIRS}))
def test_nothing_gives_no_row(name):
  assert _pack(name, [], 4) == []


def test_a_stream_of_several_documents_needs_a_separator():
  tokenizer = character.make(alphabet="abc")
  assert _tokens(_pack("stream", ["ab"], 2, tokenizer)) == [[0, 1]]
  with pytest.raises(UserError, match=r"no symbol to separate.*packing 'padded'"):
    _pack("stream", ["ab", "c"], 2, tokenizer)


@pytest.mark.parametrize(("name", "symbol"), [("wrapped", "bos"), ("padded", "pad")])
def test_a_missing_special_symbol_is_named(name, symbol):
  with pytest.raises(UserError, match=f"packing '{name}' needs a {symbol} symbol"):
    packing.find(name).check(byte.make())
  packing.find(name).check(byte.make().with_special(packing.find(name).special))


def test_an_unknown_packing_is_named():
  with pytest.raises(UserError, match="did you mean 'stream'"):
    packing.find("streams")
