"""LLaMA against a plain transcription of its formulas; rows with padding against rows without."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal
from dlm_jax.networks import llama
from dlm_jax.networks.base import Inputs
from tests.networks.random_params import random_params

B, L, V = 2, 12, 11
TOKENS = np.random.default_rng(0).integers(0, V + 1, (2, B, L), np.int32)
INPUTS = Inputs(tokens=TOKENS[0], time=jnp.zeros(B))
EPSILON, BASE, ROTATED = 0.3, 50.0, 4  # so large an epsilon that another one would be seen


def network(**fields):
  small = {"width": 16, "heads": 4, "kv_heads": 2, "head_width": 6, "depth": 2}
  small |= {"feedforward_width": 20, "epsilon": EPSILON, "rotary_base": BASE}
  interface = NetworkInterface(columns=V, num_embeddings=V + 1)
  return llama.make(interface=interface, **{**small, **fields})


def logits(net, params, inputs):
  return net.head(params, net.hidden(params, inputs))


def plain_norm(x, scale):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * scale


def plain_rotate(x, positions):
  """x [L, K]: of its first entries, pairs (k, k + R) as complex numbers, turned."""
  half = ROTATED // 2
  turn = np.exp(1j * positions[:, None] * BASE ** (-np.arange(half) / half))
  pairs = (x[:, :half] + 1j * x[:, half:ROTATED]) * turn
  return np.concatenate([pairs.real, pairs.imag, x[:, ROTATED:]], -1)


def plain_layer(p, x, allowed, positions):
  """One row [L, D], a head at a time; `allowed` [L, L]."""
  a, h = p["attention"], plain_norm(x, p["attention_norm"]["scale"])
  mixed = np.zeros_like(x)
  for head in range(4):
    group = head // 2
    q = h @ a["query"][:, head] + a["query_bias"][head]
    k, v = (h @ a[n][:, group] + a[f"{n}_bias"][group] for n in ("key", "value"))
    q = plain_rotate(plain_norm(q, a["query_norm"]["scale"]), positions)
    k = plain_rotate(plain_norm(k, a["key_norm"]["scale"]), positions)
    weights = np.where(allowed, np.exp(q @ k.T / np.sqrt(6)), 0)
    mixed += weights / weights.sum(-1, keepdims=True) @ v @ a["out"][head]
  x = x + mixed
  f, h = p["feedforward"], plain_norm(x, p["feedforward_norm"]["scale"])
  gate = h @ f["gate"]
  return x + (gate / (1 + np.exp(-gate)) * (h @ f["up"])) @ f["down"]


def plain_logits(params, tokens, allowed, positions):
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  x = params["embedding"][tokens]
  for n in range(2):
    layer = jax.tree.map(lambda a, n=n: a[n], params["layers"])
    x = plain_layer(layer, x, allowed, positions)
  return plain_norm(x, params["final_norm"]["scale"]) @ params["head_kernel"]


INDEX = np.arange(L)
PATTERNS = {
  "full": (FULL, np.ones((L, L), bool)),
  "causal": (Causal(begin=0), np.tri(L, dtype=bool)),
  "block_causal": (BlockCausal(4), (INDEX // 4)[:, None] >= INDEX // 4),
}


@pytest.mark.parametrize("implementation", ["flat", "xla"])
def test_matches_a_plain_transcription(implementation):
  net = network(rotary_width=ROTATED, qkv_bias=True, qk_norm=True, attention=implementation)
  params = random_params(net, INPUTS)
  for pattern, allowed in PATTERNS.values():
    ours = logits(net, params, dataclasses.replace(INPUTS, pattern=pattern))
    plain = [plain_logits(params, row, allowed, INDEX) for row in TOKENS[0]]
    np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)
  # The two streams of block diffusion.
  ours = logits(net, params, dataclasses.replace(INPUTS, pattern=Blocks(4), clean=TOKENS[1]))
  both = np.arange(2 * L)
  allowed = Blocks(4).allowed(both[:, None], both, L)
  rows = np.concatenate(TOKENS, axis=1)
  plain = [plain_logits(params, row, allowed, np.tile(INDEX, 2))[:L] for row in rows]
  np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


def test_a_network_of_equal_heads_has_the_sizes_that_follow_from_the_width():
  net = network(kv_heads=0, head_width=0, feedforward_width=0, width=96, tied_head=True)
  params = random_params(net, INPUTS)
  assert params["layers"]["attention"]["key"].shape == (2, 96, 4, 24)
  assert params["layers"]["feedforward"]["up"].shape == (2, 96, 256)
  hidden = net.hidden(params, INPUTS)
  expected = hidden @ params["embedding"][:V].T
  np.testing.assert_allclose(net.head(params, hidden), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pattern", [FULL, Causal(begin=0), BlockCausal(4), Blocks(4)], ids=str)
@pytest.mark.parametrize("length", [5, 11])
def test_a_padded_row_gives_what_it_gives_alone(pattern, length):
  """Alone in arrays of its own shape up to rounding; in arrays of one shape bit for bit."""
  net = network(qk_norm=True, dtype="float32")
  params = random_params(net, INPUTS)
  padded = dataclasses.replace(INPUTS, pattern=pattern, valid=np.array([[length], [L]]) > INDEX)
  alone = Inputs(tokens=TOKENS[0, :1, :length], time=jnp.zeros(1), pattern=pattern)
  run = jax.jit(lambda inputs: logits(net, params, inputs))
  out = run(padded)[0, :length]
  np.testing.assert_allclose(out, run(alone)[0], rtol=1e-5, atol=1e-6)
  others = np.where(padded.valid & (np.arange(B) == 0)[:, None], TOKENS[0], TOKENS[1])
  with_others = dataclasses.replace(padded, tokens=others, clean=None)
  np.testing.assert_array_equal(out, run(with_others)[0, :length])


@pytest.mark.parametrize("pattern", [FULL, Causal(begin=0)], ids=str)
def test_a_row_padded_to_the_left_gives_what_it_gives_alone(pattern):
  """Positions count the valid tokens, as for prompts that end together."""
  length = 7
  net = network(dtype="float32")
  params = random_params(net, INPUTS)
  valid = np.stack([L - length <= INDEX, np.ones(L, bool)])
  positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0)
  padded = dataclasses.replace(INPUTS, pattern=pattern, valid=valid, positions=positions)
  alone = Inputs(tokens=TOKENS[0, :1, L - length :], time=jnp.zeros(1), pattern=pattern)
  run = jax.jit(lambda inputs: logits(net, params, inputs))
  out = run(padded)[:1, L - length :]
  np.testing.assert_allclose(out, run(alone), rtol=1e-5, atol=1e-6)


def test_rows_of_a_cache_can_stand_at_positions_of_their_own():
  """Two prompts of different lengths, and one more token after each."""
  net = network(dtype="float32")
  params = random_params(net, INPUTS)
  lengths, slots = np.array([[3], [6]]), np.arange(8)
  causal = dataclasses.replace(INPUTS, tokens=TOKENS[0, :, :7], pattern=Causal(begin=0))
  whole = logits(net, params, causal)

  prompts = dataclasses.replace(INPUTS, tokens=TOKENS[0, :, :6], positions=np.arange(6))
  mask = (slots <= np.arange(6)[:, None]) & (slots < lengths[:, :, None])
  hidden, cache = net.extend(
    net.unstacked(params), prompts, net.empty_cache(B, 8), jnp.int32(0), mask
  )
  for row, length in enumerate(lengths[:, 0]):
    found = net.head(params, hidden)[row, :length]
    np.testing.assert_allclose(found, whole[row, :length], rtol=1e-4, atol=1e-4)

  token = np.take_along_axis(TOKENS[0], lengths, axis=1)
  after = Inputs(tokens=token, time=jnp.zeros(B), positions=lengths)
  hidden, _ = net.extend(net.unstacked(params), after, cache, lengths, slots <= lengths[:, :, None])
  expected = [whole[0, 3], whole[1, 6]]
  np.testing.assert_allclose(net.head(params, hidden)[:, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"kv_heads": 3}, "network.kv_heads 3 does not divide network.heads 4: set it to a divisor"),
    ({"width": 18, "head_width": 0}, "not an even multiple of network.heads 4"),
    ({"rotary_width": 8}, "the second no larger than the first"),
    ({"head_widht": 8}, "did you mean 'head_width'"),
    ({"interface_": 1}, "Its fields are "),
    ({"remat": "ful"}, "did you mean 'full'"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence) as error:
    network(**fields)
  assert "num_labels" not in str(error.value)
