"""The Gaussian curriculum of uniform diffusion: its transformation, its latent, its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.networks import embedding, transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.processes import duo, uniform
from tests.toy import compiled

SIZES = (2, 27, 50_257)
GAMMAS = (-4.0, -2.5, -1.0, 1.0)


def exact(gamma, vocab_size, moment):
  """The integral of (z - mu)^moment phi(z - mu) Phi(z)^(V - 1) in double precision."""
  mu = np.exp(-gamma / 2)

  def at(z):
    return (z - mu) ** moment * stats.norm.pdf(z - mu) * stats.norm.cdf(z) ** (vocab_size - 1)

  return integrate.quad(at, mu - 12, mu + 12, limit=500, epsabs=1e-13)[0]


@pytest.mark.parametrize("vocab_size", SIZES)
@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_transformation_and_its_derivative(vocab_size, gamma):
  share = vocab_size / (vocab_size - 1)
  value, slope = jax.jvp(
    lambda g: duo.transformation(g, vocab_size), (jnp.float32(gamma),), (jnp.float32(1.0),)
  )
  expected = share * exact(gamma, vocab_size, 0) - 1 / (vocab_size - 1)
  assert value == pytest.approx(expected, rel=1e-5, abs=1e-8)
  # d q / d mu, and d mu / d gamma = -mu / 2.
  expected = share * exact(gamma, vocab_size, 1) * -np.exp(-gamma / 2) / 2
  assert slope == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_of_two_tokens_it_is_the_error_function():
  gamma = jnp.linspace(-4, 4, 9)
  expected = 2 * stats.norm.cdf(np.exp(-gamma / 2) / np.sqrt(2)) - 1
  np.testing.assert_allclose(duo.transformation(gamma, 2), expected, atol=2e-6)


def test_the_default_interval_is_that_of_the_paper():
  """-3.5 to -1.75 for LM1B's tokens and -3.55 to -1.85 for OpenWebText's (appendix)."""
  np.testing.assert_allclose(duo.default_gammas(30_522), (-3.5, -1.75), atol=0.05)
  np.testing.assert_allclose(duo.default_gammas(50_257), (-3.55, -1.85), atol=0.05)


@pytest.mark.parametrize(("vocab_size", "candidates"), [(5, 4), (5, 9), (40, 1), (40, 3)])
def test_the_argmax_has_the_marginals_of_uniform_noise(vocab_size, candidates):
  process, rows, gamma = duo.make(vocab_size=vocab_size, candidates=candidates), 100_000, -1.5
  x = jnp.full((rows, 1), 2)
  soft = compiled(process.latent, jax.random.key(0), x, jnp.full(rows, gamma))
  largest = jnp.argmax(soft.weights, axis=-1, keepdims=True)
  z = np.asarray(jnp.take_along_axis(soft.tokens, largest, axis=-1)).ravel()
  alpha = float(duo.transformation(jnp.float32(gamma), vocab_size))
  expected = (1 - alpha) / vocab_size + alpha * (np.arange(vocab_size) == 2)
  counts = np.bincount(z, minlength=vocab_size)
  assert stats.chisquare(counts, rows * expected).pvalue > 1e-3


def test_the_largest_normals_are_as_if_all_were_drawn():
  rows, of = 20_000, 60
  drawn = np.asarray(duo.largest_normals(jax.random.key(0), (rows, 1), 3, of))[:, 0]
  whole = np.sort(np.random.default_rng(0).normal(size=(rows, of)), axis=1)[:, ::-1]
  for rank in range(3):
    assert stats.ks_2samp(drawn[:, rank], whole[:, rank]).pvalue > 1e-3
  gaps, expected = drawn[:, 0] - drawn[:, 2], whole[:, 0] - whole[:, 2]
  assert stats.ks_2samp(gaps, expected).pvalue > 1e-3  # they are drawn together, not one by one


def test_other_tokens_are_others_and_all_alike():
  rows, vocab_size = 60_000, 6
  x = jnp.full((rows, 1), 3)
  tokens = np.asarray(duo.other_tokens(jax.random.key(0), x, 3, vocab_size))[:, 0]
  assert (np.sort(tokens, axis=1)[:, 1:] != np.sort(tokens, axis=1)[:, :-1]).all()
  assert (tokens != 3).all() and tokens.min() == 0 and tokens.max() == 5
  codes = np.unique(tokens @ [36, 6, 1], return_counts=True)[1]
  assert len(codes) == 5 * 4 * 3
  assert stats.chisquare(codes).pvalue > 1e-3


TABLE = jax.random.normal(jax.random.key(7), (6, 6))


def network(z, t):
  """Logits from a table of the tokens seen, at all positions; soft tokens see the mean of rows."""
  rows = (
    TABLE[z]
    if not isinstance(z, SoftTokens)
    else jnp.einsum("blk,blkv->blv", z.weights, TABLE[z.tokens])
  )
  return rows + rows.mean(axis=1, keepdims=True) * t[:, None, None]


def test_at_temperature_0_the_curriculum_is_the_bound_of_the_argmax():
  process, rows = duo.make(vocab_size=6, temperature=1e-7, candidates=5), 512
  x = jax.random.randint(jax.random.key(0), (rows, 3), 0, 6)
  t = jax.random.uniform(jax.random.key(1), (rows,))
  first, last = process.gammas
  soft = compiled(process.latent, jax.random.key(2), x, first + (last - first) * t)
  z = jnp.take_along_axis(soft.tokens, soft.weights.argmax(-1)[..., None], axis=-1)[..., 0]
  loss = compiled(process.curriculum_loss, jax.random.key(2), network, x, t)
  # The bound's integrand in UDLM's clock at that state, and the two clocks' speeds.
  alpha = duo.transformation(first + (last - first) * t, 6)
  clock = 1.0 - alpha  # of the linear schedule
  step = 1e-3
  ahead = duo.transformation(first + (last - first) * (t + step), 6)
  behind = duo.transformation(first + (last - first) * (t - step), 6)
  speed = (behind - ahead) / (2 * step)
  plain = uniform.make(vocab_size=6)
  object.__setattr__(plain, "corrupt", lambda *_: z)
  expected = compiled(plain.nelbo, jax.random.key(3), network, x, clock) * speed[:, None]
  np.testing.assert_allclose(loss, expected, rtol=2e-3, atol=1e-4)


def test_a_warmer_softmax_says_more_of_the_token():
  x = jnp.zeros((4096, 1), jnp.int32)
  gamma = jnp.full(4096, duo.default_gammas(6)[1])
  at_x = [
    compiled(
      duo.make(vocab_size=6, temperature=temperature, candidates=5).latent,
      jax.random.key(0),
      x,
      gamma,
    ).weights[..., 0]
    for temperature in (1e-7, 1.0)
  ]
  assert set(np.unique(at_x[0])) == {0.0, 1.0}
  assert np.all((at_x[1] > 0) & (at_x[1] < 1))


def test_the_curriculum_ends_at_its_step():
  process = duo.make(vocab_size=6, curriculum_steps=5)
  x, t = jnp.ones((8, 3), jnp.int32), jnp.linspace(0.1, 0.9, 8)
  args = (jax.random.key(0), network, x, t)
  during, after = (compiled(process.at_step(jnp.int32(step)).loss, *args) for step in (4, 5))
  np.testing.assert_allclose(during, compiled(process.curriculum_loss, *args), rtol=1e-5)
  np.testing.assert_allclose(after, compiled(process.nelbo, *args), rtol=1e-5)
  assert not np.allclose(during, after)
  np.testing.assert_array_equal(*(compiled(f, *args) for f in (process.loss, process.nelbo)))


def test_given_positions_are_certain_and_not_scored():
  process = duo.make(vocab_size=6, curriculum_steps=1)
  x, t = jnp.full((64, 3), 4), jnp.full(64, 0.9)
  given = jnp.broadcast_to(jnp.array([True, False, True]), x.shape)
  soft = compiled(process.latent, jax.random.key(0), x, jnp.full(64, 3.0), given)
  np.testing.assert_array_equal(soft.weights[:, 0, 0], 1.0)
  assert (soft.weights[:, 1, 0] < 0.5).any()
  loss = np.asarray(compiled(process.curriculum_loss, jax.random.key(0), network, x, t, given))
  assert not loss[:, [0, 2]].any() and loss[:, 1].all()


def test_the_network_takes_the_mean_of_embeddings():
  network = transformer.make(
    width=16,
    heads=1,
    depth=1,
    interface=NetworkInterface(columns=6, num_embeddings=6),
    condition_width=8,
    dropout=0.0,
  )
  tokens = jnp.array([[1, 2, 3]])
  params = jax.jit(network.init)(jax.random.key(0), Inputs(tokens=tokens, time=jnp.zeros(1)))
  params["head_kernel"] = jax.random.normal(jax.random.key(1), params["head_kernel"].shape)

  def hidden(z):
    return network.hidden(params, Inputs(tokens=z, time=jnp.zeros(1)))

  others = jnp.stack([tokens, tokens + 1], axis=-1)
  certain = SoftTokens(others, jnp.broadcast_to(jnp.array([1.0, 0.0]), others.shape))
  np.testing.assert_allclose(hidden(certain), hidden(tokens), atol=1e-6)
  table = params["embedding"]
  mixed = SoftTokens(others, jnp.broadcast_to(jnp.array([0.25, 0.75]), others.shape))
  weights = embedding.InputWeights(table=table)
  rows = embedding.apply(weights, Inputs(tokens=mixed, time=jnp.zeros(1)), jnp.float32, jnp.float32)
  np.testing.assert_allclose(rows, 0.25 * table[tokens] + 0.75 * table[tokens + 1], atol=1e-6)


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"temperature": 0.0}, r"Duo\.temperature must be above 0, got 0\.0"),
    ({"candidates": 0}, r"Duo\.candidates must be at least 1, got 0"),
    ({"gammas": (1.0, -1.0)}, r"process\.gammas .* rising order, got \(1\.0, -1\.0\)"),
    ({"curriculum_step": 3}, "did you mean 'curriculum_steps'"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    duo.make(vocab_size=6, **fields)
