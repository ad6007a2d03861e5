"""The order from left to right in blocks: its cache, its length, its evaluations and its end."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.model.denoiser import CachingDenoiser
from dlm_jax.processes import autoregressive, block
from dlm_jax.samplers import blocks, guidance, loops
from dlm_jax.samplers.base import Extends
from tests import toy
from tests.networks.test_transformer import network, random_params
from tests.samplers import drawing

JOINT = toy.joint(length=4)
V, L, B = 11, 16, 3
ANCESTRAL = drawing.make("ancestral")


def uncached(denoise):
  """The denoiser without `extend`."""
  return lambda z, t: denoise(z, t)


@pytest.fixture(scope="module")
def weights():
  net = network(depth=2, time_conditioned=True)
  return net, random_params(net)


def process_of(size, inner="absorbing"):
  return block.make(vocab_size=V, block_size=size, inner={"name": inner})


def denoiser(weights, process):
  return CachingDenoiser(*weights, pattern=process.pattern)


def test_the_cached_output_is_that_of_the_two_streams(weights):
  """Each noisy block on a cache of the clean ones before, at its own time; two put in as one."""
  denoise = denoiser(weights, process_of(4))
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


def test_a_large_cache_is_made_longer_in_stages(weights):
  """What is read at each step grows with what is written."""
  empty = partial(denoiser(weights, process_of(4)).empty_cache, 1)
  assert blocks.stages(empty, 10, 0, 4) == [10]
  rows = blocks.LARGE // sum(a.nbytes for a in jax.tree.leaves(empty(40))) + 1
  large = partial(denoiser(weights, process_of(4)).empty_cache, rows)
  assert blocks.stages(large, 10, 0, 4) == [3, 5, 8, 10]
  assert blocks.stages(large, 10, 5, 4) == [8, 10]
  assert blocks.stages(large, 10, 10, 4) == [10]


@pytest.mark.parametrize(
  ("sampler", "process"),
  [("ancestral", autoregressive.make(vocab_size=V)), ("first_hitting", process_of(4))],
  ids=["autoregressive", "block"],
)
def test_the_cache_is_written_in_place(weights, sampler, process):
  """The compiled loop copies no array of the size of a layer's keys; only what is before it may."""
  denoise = denoiser(weights, process)
  request = drawing.request(jax.random.split(jax.random.key(0), B), L, steps=L)
  sample = lambda: loops.sample(drawing.make(sampler), process, denoise, request).tokens  # noqa: E731
  program, _, _ = jax.jit(sample).lower().compile().as_text().partition("ENTRY")
  shape = ",".join(map(str, denoise.empty_cache(B, L)[0].keys.shape))
  assert f"f32[{shape}]" in program
  copied = re.findall(rf".*f32\[{shape}\]\S* (?:copy|transpose)\(.*", program)
  assert not copied


@pytest.mark.parametrize(
  ("sampler", "inner"),
  [("ancestral", "uniform"), ("remdm", "absorbing"), ("first_hitting", "absorbing")],
)
def test_the_cache_changes_no_sample(weights, sampler, inner, monkeypatch):
  """A short last block, a prompt that ends within a block, and more tokens than were trained on.

  In one case the cache gets longer as the rows do.
  """
  if sampler == "remdm":
    monkeypatch.setattr(blocks, "LARGE", 0)
  process, shape = process_of(5, inner), (B, L + 6)
  denoise = denoiser(weights, process)
  known = {
    "tokens": np.broadcast_to(np.arange(shape[1]) % V, shape),
    "given": np.broadcast_to(np.arange(shape[1]) < 7, shape),
  }
  cached, plain = (
    drawing.draw(drawing.make(sampler), process, one, shape, steps=20, top_k=9, **known)
    for one in (denoise, uncached(denoise))
  )
  np.testing.assert_array_equal(cached.tokens, plain.tokens)
  # One for the whole block of the prompt, and one to remember each of the four other blocks.
  assert cached.num_evaluations == plain.num_evaluations + 5
  assert plain.num_evaluations == (11 if sampler == "first_hitting" else 16)
  assert np.all(cached.tokens < V) and np.any(cached.tokens[0] != cached.tokens[1])


def test_guidance_in_blocks_keeps_two_caches(weights):
  process = process_of(4, "uniform")
  one = denoiser(weights, process)
  other = CachingDenoiser(
    one.network, jax.tree.map(lambda a: 0.9 * a, one.params), pattern=one.pattern
  )
  guided, pair = guidance.guide(process, one, other, 2.0)
  assert isinstance(pair, Extends)
  cached, plain = (
    drawing.draw(ANCESTRAL, guided, denoise, (B, L), steps=8) for denoise in (pair, uncached(pair))
  )
  np.testing.assert_array_equal(cached.tokens, plain.tokens)
  assert (plain.num_evaluations, cached.num_evaluations) == (2 * 8, 2 * 12)


def draw(**settings):
  process = block.make(vocab_size=JOINT.vocab_size, block_size=2)
  denoise = toy.block_denoiser(JOINT, 2)
  return drawing.draw(ANCESTRAL, process, denoise, (2, JOINT.length), steps=80, **settings)


def test_evaluations_are_reused_where_nothing_changes():
  saving, plain = draw(reuse=True), draw()
  np.testing.assert_array_equal(saving.tokens, plain.tokens)
  assert plain.num_evaluations == 80 and saving.num_evaluations <= 2 * JOINT.length


def test_a_row_ends_with_its_end_and_the_loop_with_the_last_row():
  process = block.make(vocab_size=3, block_size=2)

  def denoise(z, t):
    at = jnp.arange(8)[:, None] >= jnp.array([1, 4])[:, None, None]
    return jnp.where(jnp.where(at, jnp.arange(3) == 2, jnp.arange(3) == 0), 0.0, -jnp.inf)

  result = drawing.draw(ANCESTRAL, process, denoise, (2, 8), steps=4, end_id=2, trajectory=True)
  assert result.num_evaluations == 3  # of four blocks
  np.testing.assert_array_equal(result.tokens, [[0] + [2] * 7, [0] * 4 + [2] * 4])
  np.testing.assert_array_equal(result.trajectory[-1], result.tokens)
  np.testing.assert_array_equal(result.trajectory[1, 1], [0, 0] + [3] * 6)


def test_given_tokens_of_later_blocks_are_refused():
  process, given = block.make(vocab_size=3, block_size=2), np.array([[True, False, False, True]])
  known = {"tokens": np.zeros((1, 4), int), "given": given}
  with pytest.raises(UserError, match="cannot see given tokens to the right"):
    drawing.draw(ANCESTRAL, process, None, (1, 4), steps=1, **known)
