"""MDLM, BD3-LM, SEDD, Duo, UDLM and GIDD: logits against their fixtures, and what they mean."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import BlockCausal, Blocks
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.data.positions import ScoredPositions
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.interop import family, hugging_face, opening
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.model.denoiser import CachingDenoiser, Denoiser, bound
from tests.interop import checkpoints, parity

# The family of each fixture, its process, and what the array of its times is called.
WHOLE_ROWS = {
  "mdlm": ("mdlm", "absorbing", "sigma"),
  "mdlm_time": ("mdlm", "absorbing", "sigma"),
  "sedd": ("sedd", "score_absorbing", "sigma"),
  "sedd_uniform": ("sedd", "score_uniform", "sigma"),
  "duo": ("duo", "duo", "sigma"),
  "gidd": ("gidd", "gidd", "timesteps"),
}
BLOCKS = ("bd3lm", "bd3lm_time")


def process(name):
  described = parity.opened(name)[0].description
  return resolve.make("dlm_jax.processes", described.process, vocab_size=described.vocab_size)


def assert_equal(found, wanted):
  """The columns of the tokens; that of the mask is never computed."""
  assert found.shape[-1] >= wanted.shape[-1] - 1
  parity.assert_close(found, wanted[..., : found.shape[-1]])


@pytest.mark.opens("parity", "{name}")
@pytest.mark.parametrize("name", WHOLE_ROWS)
def test_logits(name):
  family, of_process, time = WHOLE_ROWS[name]
  arrays, (found, network, _) = parity.expected(name), parity.opened(name)
  assert found.family.name == family
  assert found.description.process["name"] == of_process
  assert network.reads_sigma == (network.knows_time and time == "sigma")
  whole = parity.logits(name, arrays["input_ids"], time=arrays[time])
  assert_equal(whole, arrays["logits"])
  if "short_logits" in arrays:
    short = parity.logits(name, arrays["short_input_ids"], time=arrays[time])
    assert_equal(short, arrays["short_logits"])
    length = short.shape[1]
    padded = np.pad(arrays["short_input_ids"], ((0, 0), (0, whole.shape[1] - length)))
    valid = np.broadcast_to(np.arange(whole.shape[1]) < length, padded.shape)
    found = parity.logits(name, padded, time=arrays[time], valid=valid)
    parity.assert_close(found[:, :length], short)


@pytest.mark.parametrize("name", ["mdlm", "mdlm_time"])
def test_mdlm_predicts_what_the_substitution_leaves(name):
  arrays, (_, network, params) = parity.expected(name), parity.opened(name)
  noise, ids = process(name), arrays["input_ids"]
  # The time at which the noise of the process is that of the fixture.
  t = noise.schedule.inverse(jnp.exp(-arrays["sigma"]))
  _, denoise = bound(noise, Denoiser(network, params))
  found = np.asarray(noise.predict(denoise(jnp.asarray(ids), t), jnp.asarray(ids), t).log_probs)
  wanted = arrays["subs_log_probs"][..., :-1]
  certain = wanted < -1e5
  np.testing.assert_array_equal(certain, np.isneginf(found))
  np.testing.assert_allclose(found[~certain], wanted[~certain], atol=parity.TOLERANCE)


@pytest.mark.parametrize("name", ["sedd", "sedd_uniform"])
def test_sedd_s_scores_are_those_of_the_process(name):
  arrays, noise = parity.expected(name), process(name)
  ids, tokens = jnp.asarray(arrays["input_ids"]), noise.vocab_size
  logits = jnp.asarray(arrays["logits"][..., :tokens])
  prediction = noise.predict(logits, ids, jnp.asarray([0.3, 0.8]))
  if name == "sedd_uniform":
    np.testing.assert_array_equal(prediction.estimate, arrays["log_score"])
    return
  ratio = -np.log(np.expm1(arrays["sigma"]))[:, None, None]  # log(alpha / (1 - alpha))
  scores = prediction.log_probs + prediction.estimate[..., None] + ratio
  masked = arrays["input_ids"] == noise.mask_id
  assert masked.any()
  parity.assert_close(np.asarray(scores), arrays["log_score"][..., :tokens], masked)


def test_duo_reads_mixtures_of_tokens():
  arrays = parity.expected("duo")
  weights = jax.nn.softmax(jnp.asarray(arrays["soft_input_logits"]))
  every = jnp.broadcast_to(jnp.arange(weights.shape[-1]), weights.shape)
  found = parity.logits("duo", SoftTokens(every, weights), time=arrays["sigma"])
  # The reference itself is 5e-6 from the exact value here.
  np.testing.assert_allclose(found, arrays["soft_logits"], rtol=0, atol=1.5e-5)
  log_probs = process("duo").predict(jnp.asarray(arrays["logits"]), None, None).log_probs
  np.testing.assert_allclose(log_probs, arrays["log_probs"], atol=parity.TOLERANCE)


@pytest.mark.opens("parity", "{name}")
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_see_the_clean_tokens_before_them(name):
  """Noisy and clean tokens side by side, as in training, and one stream of them, as in sampling."""
  arrays, (found, network, params) = parity.expected(name), parity.opened(name)
  size = found.description.process["block_size"]
  noisy, clean = np.split(arrays["train_input_ids"], 2, axis=1)
  sigma = arrays["sigma"]
  pair = parity.logits(name, noisy, Blocks(size), time=sigma, clean=jnp.asarray(clean))
  assert_equal(pair, arrays["train_logits"])
  ids = arrays["sample_input_ids"]
  stream = parity.logits(name, ids, BlockCausal(size), time=sigma)
  assert_equal(stream, arrays["sample_logits"])
  noise = process(name)
  t = noise.inner.schedule.inverse(jnp.exp(-sigma))
  _, denoise = bound(noise, Denoiser(network, params, pattern=noise.pattern))
  parity.assert_close(np.asarray(denoise(jnp.asarray(noisy), t, clean=jnp.asarray(clean))), pair)
  assert isinstance(denoise, CachingDenoiser) != network.knows_time
  if network.knows_time:
    return
  # What is kept of the first two blocks gives the third.
  cache, start = denoise.empty_cache(len(ids), 12), 2 * size
  _, cache = denoise.extend(cache, jnp.asarray(ids), jnp.zeros(2), 0, start)
  last, _ = denoise.extend(cache, jnp.asarray(ids), t, start, size)
  assert_equal(np.asarray(last), arrays["sample_logits"][:, start:])


def altered(tmp_path, name, change):
  """The checkpoint of a fixture with another `config.json`."""
  shutil.copytree(parity.FIXTURES / name, tmp_path / name)
  path = tmp_path / name / "config.json"
  path.write_text(json.dumps(change(json.loads(path.read_text()))))
  return hugging_face.read(str(tmp_path / name))


def params_of(checkpoint):
  network = checkpoint.description.build_network(dtype="float32")
  return checkpoint.params(network, make_mesh({"data": -1}), jnp.dtype("float32"))


@pytest.mark.opens("parity", "udlm")
def test_udlm_is_duo_without_its_curriculum(tmp_path):
  found = hugging_face.read(str(checkpoints.copy("udlm", tmp_path)))
  assert found.family.name == "udlm" and found.description.process["name"] == "uniform"
  jax.tree.map(np.testing.assert_array_equal, params_of(found), parity.opened("duo")[2])


@pytest.mark.parametrize(
  ("name", "packing", "scored", "padding"),
  [
    ("mdlm", "wrapped", "all", "ignored"),
    ("bd3lm", "stream", "after_first", "ignored"),
    ("gidd", "cropped", "all", "scored"),
  ],
)
def test_rows_are_those_that_the_papers_report_on(name, packing, scored, padding):
  model = opening.load(str(parity.FIXTURES / name))
  assert (model.packing, model.positions) == (packing, ScoredPositions(scored, padding))


@pytest.mark.parametrize("name", [*WHOLE_ROWS, *BLOCKS, "ar_gpt2", "diffugpt"])
def test_the_config_that_a_family_writes_is_the_one_that_it_reads(name):
  path = str(parity.FIXTURES / name)
  found = hugging_face.read(path)
  written = json.loads(json.dumps(found.family.config(found.description)))
  assert family.recognise(written, path) == found.family
  config = ConfigFile(written, path, found.family.name)
  assert found.family.describe(config) == found.description
  config.finish()


def test_bd3lm_of_whole_rows_is_plain_masked_diffusion(tmp_path):
  found = altered(tmp_path, "bd3lm", lambda c: {**c, "cross_attn": False})
  assert found.description.process["name"] == "absorbing"


@pytest.mark.parametrize(
  ("name", "change", "sentence"),
  [
    ("bd3lm", {"causal": True}, "causal = True: of bd3lm checkpoints only those with False"),
    ("duo", {"rope_base": 5e5}, "fields that are not understood of a duo checkpoint.*rope_base"),
    ("sedd", {"graph": {"type": "absorbing"}}, "graph has type = 'absorbing'"),
    ("sedd", {"noise": {"type": "cosine"}}, "noise has type = 'cosine'"),
    ("sedd_uniform", {"graph": {"type": "absorb"}}, "model has scale_by_sigma = False"),
  ],
)
def test_what_is_not_computed_is_refused(tmp_path, name, change, sentence):
  with pytest.raises(UserError, match=sentence):
    altered(tmp_path, name, lambda config: config | change)


def test_a_file_without_the_prefix_of_its_family_is_refused(tmp_path):
  """MDLM's own file and its form for `transformers` are not mistaken for one another."""
  found = altered(tmp_path, "gidd", lambda c: as_mdlm(c))
  with pytest.raises(UserError, match=r"lacks backbone\..* and has .*blocks\.0\.adaLN"):
    params_of(found)


@pytest.mark.opens("parity", "diffullama")
def test_diffullama_is_a_decoder_under_the_names_of_its_authors(tmp_path):
  found = hugging_face.read(str(checkpoints.copy("diffullama", tmp_path)))
  assert found.family.name == "diffullama" and found.description.network["label_shift"]
  jax.tree.map(np.testing.assert_array_equal, params_of(found), parity.opened("ar_llama")[2])


def as_mdlm(config):
  sizes = {"vocab_size": "vocab_size", "hidden_dim": "hidden_size"}
  sizes |= {"cond_dim": "timestep_cond_dim", "model_length": "max_seq_len"}
  sizes |= {"n_blocks": "num_hidden_layers", "n_heads": "num_attention_heads"}
  fields = {ours: config[theirs] for ours, theirs in sizes.items()}
  return fields | {"architectures": ["MDLM"], "time_conditioning": True, "dropout": 0.1}
