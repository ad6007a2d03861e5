"""Ancestral sampling of an autoregressive model: its law, its cache, its prompts and its end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.model.denoiser import CachingDenoiser
from dlm_jax.processes import autoregressive
from tests import toy
from tests.networks.test_transformer import network, random_params
from tests.samplers import drawing

ALPHA = 1e-3
ROWS = 5_000
JOINT = toy.joint()
EXACT = toy.autoregressive_denoiser(JOINT)
PROCESS = autoregressive.make(vocab_size=JOINT.vocab_size)
PROMPT = np.array([0, 2, 0])
V, L, B = 11, 16, 3
OF_NETWORK = autoregressive.make(vocab_size=V)
ANCESTRAL = drawing.make("ancestral")


def draw(rows=ROWS, **settings):
  return drawing.draw(ANCESTRAL, PROCESS, EXACT, (rows, JOINT.length), key=1, steps=1, **settings)


def prompt(tokens, length, rows):
  """`tokens` and `given` of a prompt of the first `length` tokens."""
  tokens = np.broadcast_to(tokens, (rows, len(tokens)))
  return {
    "tokens": tokens,
    "given": np.broadcast_to(np.arange(tokens.shape[1]) < length, tokens.shape),
  }


@pytest.mark.proves("law", process="autoregressive", sampler="ancestral")
def test_follows_the_joint():
  assert JOINT.p_value(draw().tokens) > ALPHA


@pytest.mark.proves("prompt", process="autoregressive", sampler="ancestral")
def test_with_a_prompt_follows_the_conditional():
  tokens = draw(**prompt(PROMPT, 1, ROWS)).tokens
  assert JOINT.p_value(tokens, JOINT.conditional(PROMPT, np.arange(3) < 1)) > ALPHA


def test_top_k_and_temperature_follow_the_filtered_law():
  """Each token from the two most likely ones at half the temperature, against enumeration."""
  tokens = draw(temperature=0.5, top_k=2).tokens
  log_p = np.asarray(jax.nn.log_softmax(EXACT(JOINT.sequences, None)), float)
  kept = np.argsort(np.argsort(-log_p, -1), -1) < 2
  sharp = np.where(kept, np.exp(2 * log_p), 0)
  sharp /= sharp.sum(-1, keepdims=True)
  picked = np.take_along_axis(sharp, JOINT.sequences[..., None], -1)[..., 0]
  assert JOINT.p_value(tokens, picked.prod(-1)) > ALPHA


def test_greedy_takes_the_most_likely_token_each_time():
  greedy, one = draw(4, temperature=0.0), draw(4, top_k=1)
  row = np.full((1, 3), PROCESS.mask_id)
  for i in range(3):
    row[0, i] = np.argmax(EXACT(row, None)[0, i])
  np.testing.assert_array_equal(greedy.tokens, np.repeat(row, 4, 0))
  np.testing.assert_array_equal(one.tokens, greedy.tokens)


def uncached(denoise):
  """The denoiser without `extend`."""
  return lambda z, t: denoise(z, t)


@pytest.fixture(scope="module")
def trained():
  net = network(depth=2, dtype="float32")
  return CachingDenoiser(net, random_params(net), pattern=OF_NETWORK.pattern)


def of_network(denoise, **settings):
  return drawing.draw(ANCESTRAL, OF_NETWORK, denoise, (B, L), steps=1, **settings)


def test_the_cached_output_is_that_of_the_whole_row(trained):
  """In pieces of one and of many tokens, each after those before."""
  z = np.random.default_rng(0).integers(0, V, (B, L), np.int32)
  t = jnp.zeros(B)

  @jax.jit
  def in_pieces():
    cache, pieces, start = trained.empty_cache(B, L + 4), [], 0
    for size in (5, 1, 1, 9):
      future = np.where(np.arange(L) < start + size, z, V)  # not seen
      piece, cache = trained.extend(cache, future, t, start, size)
      pieces.append(piece)
      start += size
    return jnp.concatenate(pieces, axis=1)

  np.testing.assert_allclose(in_pieces(), trained(z, t), rtol=1e-4, atol=1e-4)


def test_the_cache_changes_no_sample(trained):
  settings = prompt(np.arange(L) % V, 4, B) | {"trajectory": True}
  cached, plain = of_network(trained, **settings), of_network(uncached(trained), **settings)
  np.testing.assert_array_equal(cached.tokens, plain.tokens)
  np.testing.assert_array_equal(cached.trajectory, plain.trajectory)
  assert (cached.num_evaluations, plain.num_evaluations) == (1 + L - 4, L - 4)
  assert np.any(cached.tokens[0] != cached.tokens[1])


def test_prompts_of_different_lengths_are_as_if_each_were_alone(trained):
  known = prompt(np.arange(L) % V, 4, B)
  ragged = known | {"given": np.arange(L) < np.array([[4], [9], [4]])}
  alone, ragged = of_network(trained, **known).tokens, of_network(trained, **ragged).tokens
  np.testing.assert_array_equal(ragged[[0, 2]], alone[[0, 2]])
  np.testing.assert_array_equal(ragged[1, :9], known["tokens"][1, :9])
  assert np.any(ragged[1] != alone[1])


def test_a_row_ends_with_its_end_and_the_loop_with_the_last_row():
  """The token 2 certain after the first position: two evaluations, and the rest is filled up."""

  def denoise(z, t):
    at = jnp.arange(8)[:, None] >= jnp.array([1, 3, 2])[:, None, None]
    return jnp.where(jnp.where(at, jnp.arange(3) == 2, jnp.arange(3) == 0), 0.0, -jnp.inf)

  result = drawing.draw(ANCESTRAL, PROCESS, denoise, (3, 8), steps=1, end_id=2, trajectory=True)
  assert result.num_evaluations == 4
  np.testing.assert_array_equal(
    result.tokens, [[0] + [2] * 7, [0] * 3 + [2] * 5, [0] * 2 + [2] * 6]
  )
  np.testing.assert_array_equal(result.trajectory[-1], result.tokens)
  np.testing.assert_array_equal(result.trajectory[2, 1], [0, 0] + [PROCESS.mask_id] * 6)


def test_an_end_within_the_prompt_ends_nothing():
  """The first row has no prompt, so that the loop passes over those of the others."""
  known = prompt(np.array([2, 0, 0]), 1, 64)
  known["given"] = known["given"] & (np.arange(64) > 0)[:, None]
  tokens = draw(64, end_id=2, **known).tokens
  assert (tokens[1:, 0] == 2).all() and np.any(tokens[1:, 1] != 2)


@pytest.mark.parametrize(
  "settings, message",
  [
    ({"grid": "cosine"}, "no times, and no grid such as 'cosine': leave --grid out"),
    (
      {"tokens": np.zeros((1, 3), int), "given": np.array([[False, True, False]])},
      "cannot see given tokens to the right",
    ),
  ],
)
def test_mistakes(settings, message):
  with pytest.raises(UserError, match=message):
    draw(1, **settings)
