"""A tokenizer of ours as the files that others read: `tokenizer.json` and what its symbols are."""

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from dlm_jax.core.errors import UserError
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.data.tokenizers.byte import Byte
from dlm_jax.data.tokenizers.character import Character
from dlm_jax.data.tokenizers.hf import Hf
from dlm_jax.data.tokenizers.letters import ALPHABET, Letters

# The files of a tokenizer, which a checkpoint keeps as they are.
FILES = (
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "merges.txt",
  "special_tokens_map.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "vocab.json",
)
MASK = "<|mask|>"


def write(tokenizer: Tokenizer, directory: Path, mask_id: int | None, length: int) -> None:
  """Writes the tokenizer, with a symbol for the mask where the mask is no symbol of it.

  Raises:
    UserError: it has no form among those of the `tokenizers` library.
  """
  made, symbols = _form(tokenizer)
  if mask_id is not None:
    if mask_id == made.get_vocab_size():
      made.add_special_tokens([MASK])
    symbols["mask"] = made.id_to_token(mask_id)
  made.save(str(directory / "tokenizer.json"))
  settings = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": length,
    **{f"{name}_token": text for name, text in symbols.items() if text is not None},
  }
  (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), "utf-8")


def _form(tokenizer: Tokenizer) -> tuple[tokenizers.Tokenizer, dict[str, str | None]]:
  """The tokenizer of the library, and the texts of its special symbols by their names."""
  if isinstance(tokenizer, Hf):
    made = tokenizers.Tokenizer.from_str(tokenizer.definition)
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}
    return made, {name: made.id_to_token(i) for name, i in ids.items() if i is not None}
  if isinstance(tokenizer, Byte):
    # Byte-level BPE without a merge.
    vocabulary = {_of_byte(byte): byte for byte in range(256)}
    made = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
  elif isinstance(tokenizer, Character | Letters):
    alphabet = ALPHABET if isinstance(tokenizer, Letters) else tokenizer.alphabet
    made = tokenizers.Tokenizer(models.BPE({text: i for i, text in enumerate(alphabet)}, []))
    made.decoder = decoders.Fuse()
  else:
    raise UserError(
      f"the tokenizer {type(tokenizer).__name__} has no form among those of the tokenizers library."
    )
  symbols: dict[str, str | None] = {name: f"<|{name}|>" for name in tokenizer.special}
  made.add_special_tokens(list(symbols.values()))
  return made, symbols


def _of_byte(byte: int) -> str:
  """The character that stands for a byte in byte-level vocabularies (GPT-2)."""
  shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
  if byte in shown:
    return chr(byte)
  return chr(256 + sorted(set(range(256)) - set(shown)).index(byte))
