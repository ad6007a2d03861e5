"""What comes in goes out bit for bit; what was trained here opens again as what it was."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Causal
from dlm_jax.data.tokenizers import byte, character, hf, letters
from dlm_jax.interop import (
  exporting,
  hugging_face,
  opening,
  own_model,
  tensor_writing,
  tokenizer_files,
  tokenizer_writing,
)
from dlm_jax.interop.export_settings import ExportSettings
from dlm_jax.networks.base import Inputs
from tests import tiny
from tests.interop import checkpoints, parity

FOUND = sorted(path.name for path in parity.FIXTURES.iterdir())
LLAMA = {"name": "llama", "kv_heads": 1, "rotary_base": 50.0}
BLOCKS = {"name": "block", "block_size": 4, "inner": {"name": "absorbing"}}
# The family of each run of ours, by its process and its network.
RUNS = {
  "llada": ("absorbing", LLAMA | {"tied_head": True}),
  "a2d_qwen3": ("absorbing", LLAMA | {"qk_norm": True}),
  "sdar": (BLOCKS, LLAMA | {"qk_norm": True}),
  "llama_ar": ("autoregressive", LLAMA),
  "qwen2_ar": ("autoregressive", LLAMA | {"qkv_bias": True}),
  "qwen3_ar": ("autoregressive", LLAMA | {"qk_norm": True, "head_width": 10}),
  "mdlm": ("absorbing", {"name": "transformer"}),
}


def own(process, network):
  """A model of ours, with parameters all of which are random."""
  return tiny.random(tiny.model(process, **network))


def logits(network, params):
  inputs = Inputs(tokens=np.arange(12).reshape(2, 6) + 16, time=jnp.zeros(2))
  return jax.jit(lambda p: network.head(p, network.hidden(p, inputs)))(params)


@pytest.mark.opens("export", "{name}")
@pytest.mark.parametrize("name", [*FOUND, *checkpoints.MADE])
def test_a_checkpoint_goes_out_as_it_came_in(name, tmp_path):
  given, written = checkpoints.copy(name, tmp_path / "given"), tmp_path / "written"
  written.mkdir()
  found = hugging_face.read(str(given))
  exporting.write_checkpoint(found, written)
  ours, theirs = checkpoints.tensors(written), checkpoints.tensors(given)
  assert ours.keys() == theirs.keys()
  for tensor, value in theirs.items():
    np.testing.assert_array_equal(ours[tensor], value, strict=True)
  assert (written / "config.json").read_text() == (given / "config.json").read_text()
  assert hugging_face.read(str(written)).description == found.description


def test_what_would_not_go_out_as_it_came_in_is_refused(tmp_path):
  directory = checkpoints.copy("ar_qwen2", tmp_path)
  wide = {name: a.astype(np.float64) for name, a in checkpoints.tensors(directory).items()}
  checkpoints.write(directory / "model.safetensors", wide)
  with pytest.raises(UserError, match="has tensors in float64, of which parameters keep 32 bits"):
    exporting.write_checkpoint(hugging_face.read(str(directory)), tmp_path)


def test_half_precision_and_the_tokenizer_are_kept_and_nothing_is_overwritten(tmp_path):
  directory = checkpoints.add_tokenizer(checkpoints.copy("ar_qwen2", tmp_path / "given"))
  half = {k: v.astype(jnp.bfloat16) for k, v in checkpoints.tensors(directory).items()}
  half["lm_head.weight"] = half["model.embed_tokens.weight"]
  checkpoints.write(directory / "model.safetensors", half)
  settings = {"model": str(directory), "output": str(tmp_path / "written")}
  assert exporting.export(ExportSettings(**settings)) == "qwen2_ar"
  written = checkpoints.tensors(tmp_path / "written")
  for name, tensor in half.items():
    np.testing.assert_array_equal(written[name], tensor, strict=True)
  found = (tmp_path / "written" / "tokenizer.json").read_bytes()
  assert found == (directory / "tokenizer.json").read_bytes()
  card = (tmp_path / "written" / "README.md").read_text()
  assert "| layout | qwen2_ar |" in card and "the checkpoint given, bit for bit" in card
  assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "written"]
  with pytest.raises(UserError, match="exists already, and nothing is overwritten: name another"):
    ExportSettings(**settings)


@pytest.mark.parametrize("family", RUNS)
def test_a_run_opens_again_as_what_it_was(family, tmp_path):
  model = own(*RUNS[family])
  assert exporting.write_run(model, tmp_path) == family
  again = opening.load(str(tmp_path))
  assert type(again.process) is type(model.process)
  rows = model.process.vocab_size
  ours, theirs = logits(model.network, model.params), logits(again.network, again.params)
  np.testing.assert_allclose(theirs[..., :rows], ours, rtol=1e-6, atol=1e-6)
  assert (np.argmax(theirs, axis=-1) < rows).all()
  text = "the cat"
  np.testing.assert_array_equal(again.tokenizer.encode(text), model.tokenizer.encode(text))
  card = (tmp_path / "README.md").read_text()
  assert f"| layout | {family} |" in card and "Not evaluated yet" in card


def test_rows_and_columns_that_nothing_reads_are_left_out():
  model = own("absorbing", LLAMA | {"vocab_rows": 64})
  found = own_model.parameters(model, own_model.find_layout(model))
  np.testing.assert_array_equal(found["embedding"], model.params["embedding"][:28])
  columns = model.params["head_kernel"][:, :27]
  np.testing.assert_array_equal(found["head_kernel"][:, :27], columns)
  np.testing.assert_allclose(
    found["head_kernel"][:, 27:], columns.mean(1, keepdims=True), rtol=1e-5
  )


@pytest.mark.parametrize(
  ("process", "network", "sentence"),
  [
    ("uniform", LLAMA, "a model of Uniform .* has no form"),
    (BLOCKS, LLAMA, "nearest layout is sdar, which cannot say network.qk_norm False"),
    ("absorbing", LLAMA | {"rotary_width": 4}, "cannot say network.rotary_width 4"),
    (BLOCKS, {"name": "transformer"}, "Transformer of the process absorbing in blocks of 4"),
  ],
)
def test_what_no_layout_holds_is_refused(process, network, sentence):
  with pytest.raises(UserError, match=sentence):
    own_model.find_layout(tiny.model(process, **network))


def test_a_large_checkpoint_is_written_in_shards(tmp_path):
  given = checkpoints.tensors(parity.FIXTURES / "ar_qwen2")
  named = [tensor_writing.NamedTensor(k, v.nbytes, lambda v=v: v) for k, v in given.items()]
  tensor_writing.write(tmp_path, named, largest=40_000)
  index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
  shards = set(index["weight_map"].values())
  assert len(shards) > 2 and shards == {p.name for p in tmp_path.glob("*.safetensors")}
  (tmp_path / "config.json").write_bytes((parity.FIXTURES / "ar_qwen2/config.json").read_bytes())
  again = hugging_face.read(str(tmp_path))
  for name, tensor in given.items():
    np.testing.assert_array_equal(again.tensors.read(name), tensor)


TOKENIZERS = {
  "letters": letters.make(special=("bos", "eos")),
  "byte": byte.make(special=("pad",)),
  "character": character.make(alphabet="\n .abcdefghijklmnopqrstuvwxyzé"),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_of_ours_gives_the_same_ids(name, tmp_path):
  ours = TOKENIZERS[name]
  tokenizer_writing.write(ours, tmp_path, ours.vocab_size, 16)
  again = tokenizer_files.read(tmp_path, ours.vocab_size + 1)
  assert isinstance(again, hf.Hf) and again.vocab_size == ours.vocab_size + 1
  text = "the cat  sat" + ("" if name == "letters" else ".\né")
  np.testing.assert_array_equal(again.encode(text), ours.encode(text))
  assert again.decode(ours.encode(text)) == text
  assert tokenizer_files.mask_id(tmp_path, again, ()) == ours.vocab_size
  assert (again.bos_id, again.eos_id, again.pad_id) == (ours.bos_id, ours.eos_id, ours.pad_id)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in RUNS if name.endswith("_ar")])
def test_transformers_opens_autoregressive_exports(family, tmp_path):
  torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
  model = own(*RUNS[family])
  exporting.write_run(model, tmp_path)
  theirs = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path)).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
  ids = tokenizer("the cat", return_tensors="pt")["input_ids"]
  np.testing.assert_array_equal(ids[0], model.tokenizer.encode("the cat"))
  with torch.no_grad():
    found = theirs(ids).logits.numpy()
  again = opening.load(str(tmp_path))
  # The network itself, which is given each token where it stands.
  inputs = Inputs(tokens=ids.numpy(), time=jnp.zeros(1), pattern=Causal(begin=0))
  hidden = again.network.hidden(again.params, inputs)
  parity.assert_close(np.asarray(again.network.head(again.params, hidden)), found)
