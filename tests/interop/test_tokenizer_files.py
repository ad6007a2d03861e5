"""Tokenizers as they come: a vocabulary with merges, added tokens, the mask that it names."""

import json

import numpy as np
import pytest
import tokenizers

from dlm_jax.core.errors import UserError
from dlm_jax.interop import tokenizer_files

TEXT = "the cat's 12 mice, the  cat\n\nsat"


def byte_pairs(directory, **settings):
  """`vocab.json`, `merges.txt` and the small files, which add a mask and an end of text."""
  made = tokenizers.Tokenizer(tokenizers.models.BPE())
  made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
  trainer = tokenizers.trainers.BpeTrainer(vocab_size=262, initial_alphabet=alphabet)
  made.train_from_iterator([TEXT] * 4, trainer)
  made.model.save(str(directory))
  size = made.get_vocab_size()
  (directory / "added_tokens.json").write_text(json.dumps({"<|endoftext|>": size}))
  added = {str(size + 1): {"content": "<|mask|>", "special": True}}
  fields = {"eos_token": "<|endoftext|>", "mask_token": {"content": "<|mask|>"}}
  fields |= {"added_tokens_decoder": added, **settings}
  (directory / "tokenizer_config.json").write_text(json.dumps(fields))
  return size


@pytest.mark.parametrize(("kind", "digits"), [("GPT2Tokenizer", 1), ("Qwen2Tokenizer", 2)])
def test_a_vocabulary_with_merges(kind, digits, tmp_path):
  size = byte_pairs(tmp_path, tokenizer_class=kind)
  found = tokenizer_files.read(tmp_path, 300)
  assert found.vocab_size == 300 and found.eos_id == size and found.bos_id == size
  assert tokenizer_files.mask_id(tmp_path, found, ("<|other|>",)) == size + 1
  ids = found.encode(TEXT + "<|mask|>")
  assert size + 1 not in ids  # text that spells a symbol is text
  assert found.decode(ids) == TEXT + "<|mask|>"
  assert found.decode(np.array([size + 1, ids[0]], np.int32)) == found.decode(ids[:1])
  # Qwen2 cuts numbers into digits before pairs are merged, GPT-2 does not.
  merged = tokenizers.Tokenizer.from_str(found.definition).pre_tokenizer.pre_tokenize_str("12")
  assert len(merged) == digits


def test_what_is_wrong_with_a_tokenizer_is_one_sentence(tmp_path):
  size = byte_pairs(tmp_path, tokenizer_class="LlamaTokenizer")
  with pytest.raises(UserError, match="tokenizer_class is LlamaTokenizer: of those"):
    tokenizer_files.read(tmp_path, 300)
  byte_pairs(tmp_path, tokenizer_class="GPT2Tokenizer", mask_token=None)
  with pytest.raises(UserError, match=f"has {size + 2} symbols, and the model an embedding of 200"):
    tokenizer_files.read(tmp_path, 200)
  with pytest.raises(UserError, match=r"which token is the mask .its name would be <m>"):
    tokenizer_files.mask_id(tmp_path, tokenizer_files.read(tmp_path, 300), ("<m>",))
  moved = {"9999": {"content": "<|mask|>", "special": True}}
  byte_pairs(tmp_path, tokenizer_class="GPT2Tokenizer", added_tokens_decoder=moved)
  with pytest.raises(UserError, match=r"says that '<\|mask\|>' is 9999, and it is"):
    tokenizer_files.read(tmp_path, 300)
