"""Checkpoints for tests: a fixture with a tokenizer beside it, or with a file changed."""

import json
import shutil

import numpy as np
import tokenizers
from safetensors import safe_open
from safetensors.numpy import save_file

from dlm_jax.interop import hugging_face
from tests.interop.parity import FIXTURES

# Families whose network is that of another: a fixture of that one, and changes of its config.
MADE = {
  "diffullama": (
    "ar_llama",
    {"architectures": ["DiscreteDiffusionModel"], "mask_token_id": 115},
  ),
  "qwen3_ar": (
    "qwen3_sdar",
    {"architectures": ["Qwen3ForCausalLM"], "block_size": None, "mask_token_id": None},
  ),
  "udlm": (
    "duo",
    {
      "architectures": ["UDLM"],
      "model_type": "udlm",
      "cfg": False,
      "causal": None,
      "var_min": None,
    },
  ),
}


def copy(name, directory, **changes):
  """The checkpoint of that name in a directory of its own.

  Args:
    name: of a fixture, or of a family of `MADE`.
    directory: that it is written to.
    changes: fields of its `config.json` that are others; None: gone.
  """
  directory.mkdir(parents=True, exist_ok=True)
  fixture, made = MADE.get(name, (name, {}))
  for file in ("config.json", "model.safetensors"):
    shutil.copyfile(FIXTURES / fixture / file, directory / file)
  if name == "diffullama":
    write(directory / "model.safetensors", as_diffullama(tensors(directory)))
  fields = json.loads((directory / "config.json").read_text()) | made | changes
  fields = {field: value for field, value in fields.items() if value is not None}
  (directory / "config.json").write_text(json.dumps(fields))
  return directory


def as_diffullama(llama):
  """The tensors of LLaMA under the names that DiffuLLaMA's authors gave them."""
  renamed = [
    name.replace("model.embed", "embed").replace("model.", "denoise_model.") for name in llama
  ]
  return dict(zip(renamed, llama.values(), strict=True))


def add_tokenizer(directory, mask=None):
  """The directory with a tokenizer: one symbol a character, and the mask where its id is given."""
  size = hugging_face.read(str(directory)).description.vocab_size
  words = {chr(0x4E00 + i): i for i in range(size)}
  letters = "abcdefghijklmnopqrstuvwxyz .,\n"
  words = {letters[i] if i < len(letters) else word: i for word, i in words.items()}
  words = {("<|mask|>" if i == mask else word): i for word, i in words.items()}
  words["<unk>"] = words.pop(next(word for word, i in words.items() if i == size - 1))
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
  made.decoder = tokenizers.decoders.Fuse()
  if mask is not None:
    made.add_special_tokens(["<|mask|>"])
  made.save(str(directory / "tokenizer.json"))
  return directory


def tensors(directory):
  """All tensors of `model.safetensors`."""
  with safe_open(directory / "model.safetensors", "numpy") as file:
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping


def write(path, found):
  """A safetensors file of these tensors."""
  save_file({name: np.ascontiguousarray(tensor) for name, tensor in found.items()}, str(path))
