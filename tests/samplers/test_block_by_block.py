"""Decoding of block diffusion: its law, its cache, its length and its end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.model.denoiser import CachingDenoiser
from dlm_jax.processes import absorbing, block
from dlm_jax.samplers import block_by_block
from tests import toy
from tests.networks.test_transformer import network, random_params

ALPHA = 1e-3
ROWS = 5_000
JOINT = toy.joint(length=4)
V, L, B = 11, 16, 3
PROMPT = np.array([0, 2, 0, 0])


def draw(size, rows=ROWS, **settings):
  process = block.make(vocab_size=JOINT.vocab_size, block_size=size)
  exact = toy.block_denoiser(JOINT, size)

  def denoise(z, t):
    """Whole blocks may go beyond the length of the joint: what is there is cut off."""
    beyond = ((0, 0), (0, z.shape[1] - JOINT.length), (0, 0))
    return jnp.pad(exact(z[:, : JOINT.length], t), beyond)

  sample = jax.jit(
    lambda key: block_by_block.sample(key, process, denoise, (rows, JOINT.length), **settings)
  )
  return jax.device_get(sample(jax.random.key(1)))


@pytest.mark.proves("law", process="block", sampler="block_by_block")
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_follows_the_joint(size):
  """One step a token, or so many that hardly two tokens of a block share one."""
  steps = 4 if size == 1 else 256
  assert JOINT.p_value(draw(size, steps=steps).tokens) > ALPHA


def test_too_few_steps_are_told_apart():
  assert JOINT.p_value(draw(4, steps=1).tokens) < 1e-6


@pytest.mark.proves("prompt", process="block", sampler="block_by_block")
@pytest.mark.parametrize("given", [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]], ids=str)
def test_with_known_tokens_follows_the_conditional(given):
  given = np.array(given, bool)
  shape = (ROWS, JOINT.length)
  known = {"tokens": np.broadcast_to(PROMPT, shape), "given": np.broadcast_to(given, shape)}
  tokens = draw(2, steps=256, **known).tokens
  assert JOINT.p_value(tokens, JOINT.conditional(PROMPT, given)) > ALPHA


def uncached(denoise):
  """The denoiser without `extend`."""
  return lambda z, t: denoise(z, t)


@pytest.fixture(scope="module")
def weights():
  net = network(depth=2, time_conditioned=True)
  return net, random_params(net)


def denoiser(weights, size, inner="absorbing"):
  process = block.make(vocab_size=V, block_size=size, inner=inner)
  return process, CachingDenoiser(*weights, pattern=process.pattern)


def test_the_cached_output_is_that_of_the_two_streams(weights):
  """Each noisy block on a cache of the clean ones before, at its own time; two put in as one."""
  _, denoise = denoiser(weights, 4)
  x, z = np.random.default_rng(0).integers(0, V, (2, B, L), np.int32)
  t = np.repeat(np.array([[0.2, 0.5, 0.9, 1.0]], np.float32), 4, axis=1).repeat(B, axis=0)

  @jax.jit
  def cached():
    cache, zeros = denoise.empty_cache(B, L), jnp.zeros(B)
    outputs = []
    for b in range(4):
      here = np.where(np.arange(L) // 4 == b, z, x)
      outputs.append(denoise.extend(cache, here, t[:, 4 * b], 4 * b, 4)[0])
      if b == 1:
        cache = denoise.extend(denoise.empty_cache(B, L), x, zeros, 0, 8)[1]
      else:
        cache = denoise.extend(cache, x, zeros, 4 * b, 4)[1]
    return jnp.concatenate(outputs, axis=1)

  np.testing.assert_allclose(cached(), denoise(z, t, clean=x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("inner", ["absorbing", "uniform"])
def test_the_cache_changes_no_sample(weights, inner):
  """A short last block, a prompt that ends within a block, and more tokens than that block."""
  process, denoise = denoiser(weights, 5, inner)
  shape = (B, L + 6)
  known = {
    "tokens": np.broadcast_to(np.arange(shape[1]) % V, shape),
    "given": np.broadcast_to(np.arange(shape[1]) < 7, shape),
  }

  def run(denoise):
    sample = jax.jit(
      lambda key: block_by_block.sample(key, process, denoise, shape, steps=20, **known)
    )
    return jax.device_get(sample(jax.random.key(0)))

  cached, plain = run(denoise), run(uncached(denoise))
  np.testing.assert_array_equal(cached.tokens, plain.tokens)
  # Four steps of each of the four blocks that are not whole in the prompt, and one to remember it.
  assert (plain.nfe, cached.nfe) == (4 * 4, 1 + 4 * 5)
  assert np.all(cached.tokens < V) and np.any(cached.tokens[0] != cached.tokens[1])


def test_evaluations_are_saved_where_nothing_changes():
  saving, plain = (draw(2, rows=2, steps=80, cache=cache) for cache in (True, False))
  np.testing.assert_array_equal(saving.tokens, plain.tokens)
  assert plain.nfe == 80 and saving.nfe <= 2 * JOINT.length


def test_a_row_ends_with_its_end_and_the_loop_with_the_last_row():
  process = block.make(vocab_size=3, block_size=2)

  def denoise(z, t):
    at = jnp.arange(8)[:, None] >= jnp.array([1, 4])[:, None, None]
    return jnp.where(jnp.where(at, jnp.arange(3) == 2, jnp.arange(3) == 0), 0.0, -jnp.inf)

  sample = jax.jit(
    lambda key: block_by_block.sample(
      key, process, denoise, (2, 8), steps=4, end_id=2, trajectory=True
    )
  )
  result = jax.device_get(sample(jax.random.key(0)))
  assert result.nfe == 3  # of four blocks
  np.testing.assert_array_equal(result.tokens, [[0] + [2] * 7, [0] * 4 + [2] * 4])
  np.testing.assert_array_equal(result.trajectory[-1], result.tokens)
  np.testing.assert_array_equal(result.trajectory[1, 1], [0, 0] + [3] * 6)


def test_known_tokens_of_later_blocks_are_refused():
  process, given = block.make(vocab_size=3, block_size=2), np.array([[True, False, False, True]])
  known = {"tokens": np.zeros((1, 4), int), "given": given}
  with pytest.raises(UserError, match="cannot see known tokens to the right"):
    block_by_block.sample(None, process, None, (1, 4), steps=1, **known)


def test_only_blocks():
  with pytest.raises(UserError, match=r"block_by_block.*not defined.*Absorbing.*use ancestral"):
    block_by_block.sample(None, absorbing.make(vocab_size=3), None, (1, 4), steps=1)
