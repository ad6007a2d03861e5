"""The denoiser: what it hands to the network, what it counts, and when it caches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal
from dlm_jax.model.denoiser import CachingDenoiser, Denoiser, bound, with_cache
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs, Network
from dlm_jax.processes import absorbing, gaussian
from dlm_jax.processes.base import conditioned
from tests.networks.random_params import random_params

B, L, V = 2, 8, 5
TOKENS = np.random.default_rng(0).integers(0, V, (B, L), np.int32)
T = jnp.asarray([0.2, 0.7])
SMALL = {"width": 16, "heads": 2, "depth": 1, "condition_width": 8}


@pytest.fixture(scope="module")
def parts():
  interface = NetworkInterface(columns=V, num_embeddings=V + 1)
  network = transformer.make(interface=interface, **SMALL)
  return network, random_params(network, Inputs(tokens=TOKENS, time=T))


def test_under_a_causal_pattern_a_position_reads_the_token_before_it(parts):
  network, params = parts
  causal = Causal(begin=V)
  before = np.pad(TOKENS, ((0, 0), (1, 0)), constant_values=V)[:, :-1]
  hidden = network.hidden(params, Inputs(tokens=before, time=T, pattern=causal))
  found = Denoiser(network, params, pattern=causal)(TOKENS, T)
  np.testing.assert_array_equal(found, network.head(params, hidden))


def test_a_network_that_reads_sigma_is_given_it_in_place_of_the_time(parts):
  _, params = parts
  plain, reads = (
    transformer.make(
      interface=NetworkInterface(columns=V, num_embeddings=V + 1),
      time_conditioned=True,
      time_input=name,
      **SMALL,
    )
    for name in ("t", "sigma")
  )
  process = absorbing.make(vocab_size=V)
  _, denoise = bound(process, Denoiser(reads, params))
  sigma = -jnp.log(1 - 0.999 * T)
  np.testing.assert_allclose(denoise(TOKENS, T), Denoiser(plain, params)(TOKENS, sigma), atol=1e-4)
  _, unchanged = bound(process, Denoiser(plain, params))
  np.testing.assert_array_equal(unchanged(TOKENS, T), Denoiser(plain, params)(TOKENS, T))
  causal = Denoiser(reads, params, pattern=Causal(begin=V))
  _, caches = bound(process, causal)
  found, _ = caches.extend(caches.empty_cache(B, L), TOKENS, T, 0, L)
  _, whole = bound(process, causal)
  np.testing.assert_allclose(found, whole(TOKENS, T), atol=1e-4)


def test_the_network_of_a_continuous_process_is_given_its_earlier_prediction():
  process = gaussian.make(vocab_size=V, width=4, self_conditioning=0.5)
  network = transformer.make(interface=process.interface, **SMALL)
  z, earlier = jax.random.normal(jax.random.key(0), (2, B, L, 4))
  params = random_params(network, Inputs(states=z, time=T, self_condition=earlier))
  params["process"] = process.init(jax.random.key(1))
  _, denoise = bound(process, Denoiser(network, params))
  moved = denoise(z, T, self_condition=earlier) - denoise(z, T)
  assert np.abs(moved).max() > 1e-2


def test_it_caches_where_network_and_pattern_allow(parts):
  causal = Causal(begin=V)
  assert isinstance(with_cache(Denoiser(*parts, pattern=causal)), CachingDenoiser)
  process = absorbing.make(vocab_size=V)
  assert type(bound(process, Denoiser(*parts))[1]) is Denoiser
  assert type(with_cache(Denoiser(Network(), {}, pattern=causal))) is Denoiser
  rereads = dataclasses.replace(parts[0], time_conditioned=True, clean_time="noisy")
  assert type(with_cache(Denoiser(rereads, parts[1], pattern=causal))) is Denoiser
  with pytest.raises(UserError, match="cannot keep keys and values with the pattern Full"):
    CachingDenoiser(*parts, pattern=FULL)


@pytest.fixture(scope="module")
def shifted(parts):
  network, params = parts
  return dataclasses.replace(network, label_shift=True), params


def raw_logits(parts, inputs):
  """What the network gives at each position, of both streams."""
  network, params = parts
  return network.head(params, network.states(params, inputs))


def test_with_label_shift_a_position_is_predicted_from_the_state_before_it(parts, shifted):
  raw = raw_logits(parts, Inputs(tokens=TOKENS, time=T))
  wanted = np.concatenate([raw[:, :1], raw[:, :-1]], axis=1)
  denoise = Denoiser(*shifted)
  np.testing.assert_array_equal(denoise(TOKENS, T), wanted)
  score = lambda logits, x: jnp.take_along_axis(logits, x[..., None], -1)[..., 0]  # noqa: E731
  everywhere = np.ones((B, L), bool)
  found = denoise.score(TOKENS, T, score, (TOKENS,), everywhere)
  np.testing.assert_allclose(found, score(wanted, TOKENS), atol=1e-6)


def test_the_shift_cannot_be_applied_twice(shifted):
  process, denoise = absorbing.make(vocab_size=V), Denoiser(*shifted)
  once = denoise(TOKENS, T)
  for _ in range(2):
    process, denoise = bound(process, denoise)
  np.testing.assert_array_equal(conditioned(denoise, valid=None)(TOKENS, T), once)
  with pytest.raises(UserError, match="has moved by one already"):
    Denoiser(*shifted, pattern=Causal(begin=V))(TOKENS, T)


def test_the_first_token_of_a_block_is_predicted_from_the_clean_token_before_it(parts, shifted):
  pattern, z = Blocks(3), np.where(TOKENS % 2, TOKENS, V)
  raw = raw_logits(parts, Inputs(tokens=z, time=T, clean=TOKENS, pattern=pattern))
  found = Denoiser(*shifted, pattern=pattern)(z, T, clean=TOKENS)
  np.testing.assert_array_equal(found[:, 3], raw[:, L + 2])
  np.testing.assert_array_equal(found[:, 4], raw[:, 3])
  _, caches = bound(absorbing.make(vocab_size=V), Denoiser(*shifted, pattern=pattern))
  cache = caches.empty_cache(B, L)
  for start in (0, 3):
    row = np.concatenate([TOKENS[:, :start], z[:, start:]], axis=1)
    there = slice(start, start + 3)
    ahead, cache = caches.extend(cache, row, T, start, 3)
    np.testing.assert_allclose(ahead, found[:, there], atol=1e-5)
    cache = caches.extend(cache, TOKENS, T, start, 3)[1]


def test_rows_of_block_causal_attention_are_shifted_in_the_cache_as_well(shifted):
  pattern = BlockCausal(4)
  whole = Denoiser(*shifted, pattern=pattern)(TOKENS, T)
  _, caches = bound(absorbing.make(vocab_size=V), Denoiser(*shifted, pattern=pattern))
  found, _ = caches.extend(caches.empty_cache(B, L), TOKENS, T, 0, L)
  np.testing.assert_allclose(found, whole, atol=1e-5)
