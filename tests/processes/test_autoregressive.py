"""What is peculiar to autoregression: the likelihood is exact, row by row, and looks left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax import experiment as experiments
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.model.denoiser import Denoiser
from dlm_jax.model.head import Head
from dlm_jax.processes import autoregressive
from tests import tiny, toy
from tests.networks.test_transformer import network as small_network
from tests.networks.test_transformer import random_params

JOINT = toy.joint(length=4)
EXACT = toy.autoregressive_denoiser(JOINT)
PROCESS = autoregressive.make(vocab_size=JOINT.vocab_size)
V, L = 11, 16
OF_NETWORK = autoregressive.make(vocab_size=V)
TOKENS = np.random.default_rng(0).integers(0, V, (3, L), np.int32)


def denoiser(**fields):
  network = small_network(**fields)
  return Denoiser(network, random_params(network), pattern=OF_NETWORK.pattern)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_likelihood_of_each_row_is_exact_at_all_times(t):
  rows = len(JOINT.sequences)
  nats = PROCESS.nelbo(jax.random.key(0), EXACT, JOINT.sequences, jnp.full(rows, t))
  np.testing.assert_allclose(nats.sum(-1), -np.log(JOINT.probs), rtol=1e-5)


def test_each_term_is_a_conditional():
  """Position 2 of a row against the counts of the joint."""
  nats = PROCESS.nelbo(None, EXACT, JOINT.sequences, jnp.zeros(len(JOINT.sequences)))
  table = JOINT.probs.reshape([JOINT.vocab_size] * 4).sum(-1)
  conditional = table / table.sum(-1, keepdims=True)
  expected = -np.log(np.repeat(conditional.ravel(), JOINT.vocab_size))
  np.testing.assert_allclose(nats[:, 2], expected, rtol=1e-5)


def test_the_network_s_output_depends_on_the_tokens_before_alone():
  denoise, t = denoiser(), jnp.zeros(3)
  expected = denoise(TOKENS, t)
  for i in (0, 7, L - 1):
    changed = TOKENS.copy()
    changed[:, i] = (changed[:, i] + 1) % V
    moved = np.abs(denoise(changed, t) - expected).max(axis=(0, 2))
    assert not moved[: i + 1].any() and (moved[i + 1 :] > 1e-4).all()


def test_the_network_gives_a_distribution_over_sequences():
  """The likelihoods of all sequences of a short length sum to 1: nothing leaks from the right."""
  network = small_network(interface=NetworkInterface(columns=3, num_embeddings=4))
  process = autoregressive.make(vocab_size=3)
  denoise = Denoiser(network, random_params(network), pattern=process.pattern)
  nats = process.nelbo(None, denoise, JOINT.sequences, jnp.zeros(len(JOINT.sequences)))
  assert float(jnp.exp(-nats.sum(-1)).sum()) == pytest.approx(1.0, abs=1e-4)


def test_head_economies_change_nothing():
  plain, t = denoiser(), jnp.zeros(3)
  nats = OF_NETWORK.nelbo(None, plain, TOKENS, t)
  log_p = jax.nn.log_softmax(plain(TOKENS, t))
  np.testing.assert_allclose(nats, -np.take_along_axis(log_p, TOKENS[..., None], -1)[..., 0], 1e-4)
  chunked = Denoiser(plain.network, plain.params, Head(chunks=4), pattern=plain.pattern)
  np.testing.assert_allclose(OF_NETWORK.nelbo(None, chunked, TOKENS, t), nats, rtol=1e-4)


def test_a_prompt_is_a_condition_and_not_scored():
  given = np.broadcast_to(np.arange(4) < 2, JOINT.sequences.shape)
  nats = PROCESS.nelbo(None, EXACT, JOINT.sequences, jnp.zeros(len(given)), given).sum(-1)
  prompt = JOINT.probs.reshape(JOINT.vocab_size**2, -1).sum(-1)
  expected = np.log(np.repeat(prompt, JOINT.vocab_size**2)) - np.log(JOINT.probs)
  np.testing.assert_allclose(nats, expected, rtol=1e-5)


@pytest.mark.parametrize("length", [3, 7, 100])
def test_one_token_is_revealed_in_each_of_l_steps(length):
  times = jnp.arange(length + 1) / length
  np.testing.assert_array_equal(PROCESS.num_revealed(times, length), np.arange(length, -1, -1))
  z = PROCESS.corrupt(None, np.zeros((1, length), np.int32), times[2:3])
  np.testing.assert_array_equal(z[0] == PROCESS.mask_id, np.arange(length) >= length - 2)
  output = jnp.zeros((1, length, JOINT.vocab_size))
  prediction = PROCESS.predict(output, z, times[2:3])
  revealed = PROCESS.reverse(jax.random.key(0), prediction, z, times[2:3], times[1:2])
  np.testing.assert_array_equal(np.flatnonzero(revealed[0] != z[0]), [length - 2])


def test_the_experiment_binds_the_visibility(tmp_path):
  config = tiny.config(tmp_path, process={"name": "autoregressive"})
  experiment = experiments.build(config)
  bound = []
  params = experiment.abstract_state.params
  jax.eval_shape(lambda params: bound.append(experiment.denoiser(params).pattern), params)
  assert bound == [experiment.process.pattern]
