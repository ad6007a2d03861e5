"""A checkpoint opens as a model, samples and is scored; what is wrong with one is one sentence."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax import notebook
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Causal
from dlm_jax.evaluation import judges
from dlm_jax.interop import hugging_face, opening
from dlm_jax.model.denoiser import bound
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.processes.autoregressive import Autoregressive
from dlm_jax.processes.block import Block
from dlm_jax.processes.duo import Duo
from dlm_jax.processes.gidd import Gidd
from dlm_jax.processes.score_absorbing import ScoreAbsorbing
from dlm_jax.processes.score_uniform import ScoreUniform
from dlm_jax.processes.uniform import Uniform
from tests.interop import checkpoints, parity

# The process of each fixture, and the id of the mask where `config.json` does not say it.
MODELS = {
  "llada": (Absorbing, None),
  "dream": (Absorbing, None),
  "qwen3_sdar": (Block, None),
  "qwen3_a2d": (Absorbing, 124),
  "fast_dllm_v2": (Block, 131),
  "qwen3_moe_sdar": (Block, None),
  "llada_moe": (Absorbing, 141),
  "llada2_moe": (Block, 139),
  "ar_llama": (Autoregressive, None),
  "ar_qwen2": (Autoregressive, None),
  "mdlm": (Absorbing, None),
  "mdlm_time": (Absorbing, None),
  "bd3lm": (Block, None),
  "sedd": (ScoreAbsorbing, None),
  "sedd_uniform": (ScoreUniform, None),
  "duo": (Duo, None),
  "gidd": (Gidd, None),
  "ar_gpt2": (Autoregressive, None),
  "diffugpt": (Absorbing, 131),
  "diffullama": (Absorbing, None),
  "qwen3_ar": (Autoregressive, None),
  "udlm": (Uniform, None),
}


@pytest.mark.slow
@pytest.mark.opens("sample", "{name}")
@pytest.mark.opens("bound", "{name}")
@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_samples_and_is_scored(name, tmp_path):
  process, mask = MODELS[name]
  directory = checkpoints.add_tokenizer(checkpoints.copy(name, tmp_path), mask)
  model = notebook.load(str(directory))
  assert isinstance(model.process, process)
  if mask is not None:
    assert getattr(model.process, "inner", model.process).mask_id == mask
  (text,) = notebook.sample(model, num=1, length=8, steps=2, prompt="ab")
  assert text.startswith("ab") and model.tokenizer.encode(text, strict=False).size
  (score,) = notebook.score(model, ["the cat"], samples=2)
  assert np.isfinite(score.nats) and score.exact == (process is Autoregressive)


def test_the_denoiser_predicts_a_position_from_the_state_before_it_where_the_family_does(tmp_path):
  for name, shifted in (("llada", False), ("dream", True), ("diffugpt", True)):
    directory = checkpoints.copy(name, tmp_path / name)
    if name == "diffugpt":
      checkpoints.copy(name, directory, mask_token_id=131)
    arrays, model = parity.expected(name), opening.load(str(directory))
    tokens, wanted = arrays["input_ids"], arrays["logits"]
    if shifted:
      wanted = np.concatenate([wanted[:, :1], wanted[:, :-1]], axis=1)
    if name == "diffugpt":
      np.testing.assert_array_equal(wanted, arrays["shifted_logits"])
    parity.assert_close(np.asarray(model.denoiser()(tokens, jnp.zeros(2))), wanted)


def test_an_answer_is_scored_by_the_estimator_of_llada():
  """Of the reference: the tokens as it masked them, and what it made of each draw."""
  drawn = np.load(parity.FIXTURES / "llada" / "likelihood.npz")
  model = opening.load(str(parity.FIXTURES / "llada"))
  process, denoise = bound(model.evaluation_process, model.denoiser())
  row = np.concatenate([drawn["prompt_ids"], drawn["answer_ids"]])
  masked, counts = drawn["masked_ids"].reshape(-1, len(row)), drawn["mask_counts"].reshape(-1)
  given = np.broadcast_to(np.arange(len(row)) < len(drawn["prompt_ids"]), masked.shape)
  # Of n tokens those times mask k that lie between (k - 1) / n and k / n.
  t = (counts - 0.5) / len(drawn["answer_ids"])
  found = process.loss_of(lambda _: masked, denoise, np.broadcast_to(row, masked.shape), t, given)
  # The reference leaves the mask among the tokens that may be predicted; here it never is one.
  of_mask = jax.nn.softmax(denoise(masked, t))[..., process.mask_id]
  unscored = jnp.sum(jnp.where(masked == process.mask_id, jnp.log1p(-of_mask), 0.0), axis=1)
  theirs = found.sum(1) - unscored / drawn["mask_ratio"].reshape(-1)
  np.testing.assert_allclose(theirs, drawn["sample_loss"].reshape(-1), rtol=2e-6)
  np.testing.assert_allclose(-theirs.mean(), drawn["log_likelihood"], rtol=2e-6)


def test_a_checkpoint_without_a_tokenizer_opens_and_says_so():
  model = opening.load(str(parity.FIXTURES / "llada"))
  with pytest.raises(UserError, match="has no tokenizer, so that text cannot be read"):
    notebook.sample(model, num=1, prompt="a", length=4, steps=1)
  with pytest.raises(UserError, match="has no step 7: leave --step out"):
    opening.load(str(parity.FIXTURES / "llada"), step=7)
  with pytest.raises(UserError, match="has no raw weights: leave --weights out"):
    opening.load(str(parity.FIXTURES / "llada"), weights="raw")
  with pytest.raises(UserError, match="says which token is the mask"):
    opening.load(str(parity.FIXTURES / "qwen3_a2d"))


def test_shards_and_a_copy_of_a_tied_head_give_the_same_parameters(tmp_path):
  directory = checkpoints.copy("ar_qwen2", tmp_path)
  tensors = checkpoints.tensors(directory)
  tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
  (directory / "model.safetensors").unlink()
  places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(sorted(tensors))}
  for file in set(places.values()):
    checkpoints.write(directory / file, {k: v for k, v in tensors.items() if places[k] == file})
  index = directory / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": places}))
  found, network, params = parity.opened("ar_qwen2")
  again = hugging_face.read(str(directory))
  assert again.description == found.description
  mesh = params["embedding"].sharding.mesh
  jax.tree.map(np.testing.assert_array_equal, params, again.params(network, mesh, jnp.float32))
  tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
  checkpoints.write(directory / "model.safetensors", tensors)
  with pytest.raises(UserError, match=r"\(tied\), but the two differ"):
    hugging_face.read(str(directory)).params(network, mesh, jnp.float32)


def test_other_weights_and_another_config_have_another_fingerprint(tmp_path):
  directory = checkpoints.copy("llada", tmp_path / "a")
  fingerprint = hugging_face.read(str(directory)).fingerprint
  for name, changes in {"b": {}, "c": {"rope_theta": 77.0}}.items():
    copied = checkpoints.copy("llada", tmp_path / name, **changes)
    assert (hugging_face.read(str(copied)).fingerprint == fingerprint) == (not changes)
  found = checkpoints.tensors(directory)
  for name in min(found), max(found):
    other = found | {name: found[name] * np.float32(1.001)}
    checkpoints.write(directory / "model.safetensors", other)
    assert hugging_face.read(str(directory)).fingerprint != fingerprint


# What is left out of a `config.json` (None) or said there otherwise, and the network it describes.
DESCRIBED = [
  ("ar_llama", {"rope_theta": None}, {"rotary_base": 1e4}),  # as LLaMA 2 leaves it out
  ("diffullama", {"rope_theta": None}, {"rotary_base": 1e4}),
  (
    "ar_qwen2",
    {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}},
    {"rotary_base": 7.0},
  ),
  ("ar_qwen2", {"use_mrope": False, "head_dim": 10}, {"head_width": 10}),
  ("llada", {"n_kv_heads": None}, {"kv_heads": 6}),
  ("llada", {"mlp_hidden_size": None, "include_qkv_bias": True}, {"feedforward_width": 192}),
  ("llada_moe", {"moe_layer_freq": [0, 0, 1]}, {"dense_layers": 2}),
  ("llada_moe", {"norm_topk_prob": True}, {"router_renormalized": False}),
  ("qwen3_moe_sdar", {"mlp_only_layers": [0]}, {"dense_layers": 1}),
  ("qwen3_moe_sdar", {"norm_topk_prob": False}, {"router_renormalized": False}),
  ("llada2_moe", {"norm_topk_prob": False}, {"router_renormalized": True}),
  ("llada2_moe", {"num_experts_per_tok": 1}, {"router_renormalized": False}),
  ("llada2_moe", {"rotary_dim": 4}, {"rotary_width": 4}),
  ("llada2_moe", {"rotary_dim": None, "partial_rotary_factor": 0.25}, {"rotary_width": 3}),
]


@pytest.mark.parametrize(("name", "changes", "fields"), DESCRIBED)
def test_the_network_is_what_the_config_says_it_is(name, changes, fields, tmp_path):
  described = hugging_face.read(str(checkpoints.copy(name, tmp_path, **changes))).description
  assert {field: described.network[field] for field in fields} == fields


def test_gpt2_judges_text_from_the_end_of_another(tmp_path):
  model = opening.load(str(checkpoints.add_tokenizer(checkpoints.copy("ar_gpt2", tmp_path), None)))
  (nats, _), (scored, _) = judges.trained_here(model)(["the cat", "a dog"])
  ids = model.tokenizer.encode("the cat")
  before = np.concatenate([[model.process.begin_id], ids[:-1]])[None]
  log_probs = jax.nn.log_softmax(parity.logits("ar_gpt2", before, Causal(begin=0)))[0]
  assert scored == len(ids) == 7
  np.testing.assert_allclose(nats, -log_probs[np.arange(7), ids].sum(), rtol=1e-5)


def test_gpt2_opens_without_the_prefix_and_with_the_buffers_of_older_files(tmp_path):
  directory = checkpoints.copy("ar_gpt2", tmp_path)
  tensors = checkpoints.tensors(directory)
  tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
  tensors["h.0.attn.bias"] = np.ones((1, 1, 40, 40), np.float32)
  checkpoints.write(directory / "model.safetensors", tensors)
  _, network, params = parity.opened("ar_gpt2")
  mesh = params["embedding"].sharding.mesh
  again = hugging_face.read(str(directory)).params(network, mesh, jnp.float32)
  jax.tree.map(np.testing.assert_array_equal, params, again)


def broken(change):
  """Changes the tensors of a checkpoint."""

  def of(directory):
    tensors = checkpoints.tensors(directory)
    change(tensors)
    checkpoints.write(directory / "model.safetensors", tensors)

  return of


def cut_off(directory):
  path = directory / "model.safetensors"
  path.write_bytes(path.read_bytes()[:-100])


def as_original(tensors):
  for name in list(tensors):
    tensors[f"backbone.{name}"] = tensors.pop(name)


NORM = "model.transformer.ln_f.weight"
FAULTS = {
  "lacks model.transformer.ln_f.weight of a llada model": broken(lambda t: t.pop(NORM)),
  "has tensors that a llada model of its config.json does not have: more": broken(
    lambda t: t.update(more=t[NORM])
  ),
  r"has the shape \[47\], but config.json describes a llada model in which it has \[48\]": broken(
    lambda t: t.update({NORM: t[NORM][:-1]})
  ),
  "not hold the tensors of a llada model, .* 27 more and has backbone": broken(as_original),
  "of the type I32, as in a quantised": broken(lambda t: t.update({NORM: t[NORM].astype("int32")})),
  "is no whole safetensors file .* may be cut off": cut_off,
  "has neither model.safetensors nor": lambda directory: (directory / "model.safetensors").unlink(),
}


@pytest.mark.parametrize("message", FAULTS)
def test_what_is_wrong_with_the_tensors_is_one_sentence(message, tmp_path):
  directory = checkpoints.copy("llada", tmp_path)
  FAULTS[message](directory)
  with pytest.raises(UserError, match=message):
    opening.load(str(directory))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"alibi": True}, "alibi = True: of llada checkpoints only those with False"),
    ({"new_field": 3}, "not understood of a llada checkpoint.*: new_field = 3"),
    ({"d_model": None}, "has no field 'd_model'"),
    ({"n_layers": "3"}, "has n_layers = '3', which must be a whole number"),
    ({"architectures": ["Unknown"]}, "is of no family that can be opened.*llada"),
    ({"n_layers": True}, "has n_layers = True, which must be a whole number"),
  ],
)
def test_what_is_wrong_with_the_config_is_one_sentence(changes, message, tmp_path):
  with pytest.raises(UserError, match=message):
    hugging_face.read(str(checkpoints.copy("llada", tmp_path, **changes)))


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    ("ar_qwen2", {"use_mrope": True}, "use_mrope = True: of qwen2_ar checkpoints only those with"),
    ("ar_qwen2", {"rope_theta": None}, "has no field 'rope_theta', which a qwen2_ar"),
    (
      "ar_qwen2",
      {"rope_scaling": {"rope_type": "yarn"}},
      "has rope_scaling = {'rope_type': 'yarn'",
    ),
    ("llada_moe", {"moe_layer_freq": [1, 0, 1]}, "layers without experts after layers with"),
    ("qwen3_moe_sdar", {"decoder_sparse_step": 2}, "decoder_sparse_step = 2"),
    ("ar_gpt2", {"n_inner": 72}, "n_inner = 72: of gpt2_ar checkpoints only those with 144"),
  ],
)
def test_what_is_not_computed_is_refused(name, changes, message, tmp_path):
  with pytest.raises(UserError, match=message):
    hugging_face.read(str(checkpoints.copy(name, tmp_path, **changes)))
