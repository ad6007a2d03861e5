"""Every process, found by itself, passes the same proofs.

A new process adds its exact denoiser to `ORACLES` and nothing else. What it can be beside its
defaults is in `VARIANTS`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.processes import base, score_entropy
from dlm_jax.processes.parts.times import Times
from tests import toy

PACKAGE = "dlm_jax.processes"
ORACLES = {
  "absorbing": toy.absorbing_denoiser,
  "autoregressive": toy.autoregressive_denoiser,
  "block": partial(toy.block_denoiser, size=4),
  "duo": toy.mixture_denoiser,
  "gaussian": toy.gaussian_denoiser,
  "generalized_absorbing": toy.generalized_denoiser,
  "hybrid": partial(toy.mixture_denoiser, uniform_fraction=0.1),
  "score_entropy": toy.score_denoiser,
  "uniform": toy.mixture_denoiser,
}
FIELDS = {"gaussian": toy.GAUSSIAN}
GEOMETRIC_UNIFORM = score_entropy.make(vocab_size=3, noise="uniform")
# By a name of their own: the process, its fields and its exact denoiser.
VARIANTS = {
  "token_blocks": ("block", {"block_size": 1}, partial(toy.block_denoiser, size=1)),
  "uneven_blocks": ("block", {"block_size": 2}, partial(toy.block_denoiser, size=2)),
  "half_hybrid": ("hybrid", {"p_u": 0.5}, partial(toy.mixture_denoiser, uniform_fraction=0.5)),
  "score_entropy_uniform": (
    "score_entropy",
    {"noise": "uniform"},
    partial(toy.uniform_score_denoiser, noise=GEOMETRIC_UNIFORM.noised),
  ),
}
JOINT = toy.joint()
ROWS = 1 << 16


def make(name, **fields):
  """The process, with the first values of what it learns."""
  module, own, _ = VARIANTS.get(name, (name, FIELDS.get(name, {}), None))
  fields = {"vocab_size": JOINT.vocab_size, **own, **fields}
  process = resolve.module(PACKAGE, module).make(**fields)
  learned = base.init(process, jax.random.key(0))
  return process.bind(learned) if learned else process


def oracle(name):
  """The exact denoiser of the toy joint."""
  return VARIANTS[name][2](JOINT) if name in VARIANTS else ORACLES[name](JOINT)


def tokens(process, z):
  """The state as tokens."""
  return np.asarray(process.nearest_tokens(z) if base.is_continuous(process) else z)


def hold(process, z, x, given):
  """The state `z` with `x` at given positions."""
  return process.hold(z, x, given) if base.is_continuous(process) else jnp.where(given, x, z)


def bound_draws(process, denoise, seed=0):
  """Draws, float64 `[ROWS]`, whose mean is the bound of the toy joint in nats a sequence."""
  x = JOINT.draw(seed, ROWS)
  # Rows and times are drawn apart, so that the rows are independent of their times.
  t, _ = Times(epsilon=0.0).draw(jax.random.key(seed), ROWS, process)
  nats = jax.jit(lambda key: process.nelbo(key, denoise, x, t).sum(-1))(jax.random.key(seed + 1))
  return np.asarray(nats, np.float64) + process.constants() * JOINT.length


def standard_error(draws):
  return draws.std() / np.sqrt(len(draws))


@pytest.fixture(params=[*resolve.names(PACKAGE), *VARIANTS])
def name(request):
  return request.param


def test_every_process_has_an_oracle():
  assert sorted(ORACLES) == resolve.names(PACKAGE)


@pytest.mark.proves("bound", process="{name}")
def test_bound_of_the_exact_denoiser_is_the_entropy(name):
  process = make(name)
  nats = bound_draws(process, oracle(name))
  # Of 3.1 nats. Integrands have a heavy tail at small times: what is known by quadrature is proved
  # to more digits beside each process.
  assert standard_error(nats) < 0.06
  assert abs(nats.mean() - JOINT.entropy) < 4 * standard_error(nats)


def test_bound_of_another_denoiser_is_larger(name):
  process, exact = make(name), oracle(name)
  # The same data, times and noise: the difference is known far better than either bound.
  excess = bound_draws(process, toy.wrong_denoiser(exact)) - bound_draws(process, exact)
  assert excess.mean() > 4 * standard_error(excess)


def test_corrupt_is_the_identity_at_0_and_the_prior_at_1(name):
  process, rows = make(name), 4096
  x = JOINT.draw(0, rows)
  key = jax.random.key(0)
  np.testing.assert_array_equal(tokens(process, process.corrupt(key, x, jnp.zeros(rows))), x)
  end = tokens(process, process.corrupt(key, x, jnp.ones(rows)))
  prior = tokens(process, process.prior(jax.random.key(1), x.shape))
  for symbol in range(process.num_embeddings or process.vocab_size):
    assert abs(float((end == symbol).mean() - (prior == symbol).mean())) < 0.03


def test_log_probs_are_normalised(name):
  process = make(name)
  x = JOINT.draw(0, 64)
  z = process.corrupt(jax.random.key(0), x, jnp.full(64, 0.5))
  output = 5 * jax.random.normal(jax.random.key(1), (*x.shape, JOINT.vocab_size))
  log_p = process.log_probs(output, z, jnp.full(64, 0.5))
  assert log_p.dtype == jnp.float32
  np.testing.assert_allclose(jnp.exp(log_p).sum(-1), 1.0, atol=1e-5)


def test_given_positions_are_never_noised_scored_or_changed(name):
  process, denoise = make(name), oracle(name)
  x, rows = JOINT.draw(0, 256), 256
  given = np.random.default_rng(0).random(x.shape) < 0.5
  key, t = jax.random.key(0), jnp.ones(rows)
  z = process.corrupt(key, x, t, given)
  np.testing.assert_array_equal(z, hold(process, z, x, given))
  for scored in (process.nelbo, process.loss):
    assert not np.asarray(scored(key, denoise, x, t, given))[given].any()
  noise = hold(process, process.prior(key, x.shape), x, given)
  out = process.reverse(key, denoise(noise, t), noise, t, jnp.zeros(rows), given)
  np.testing.assert_array_equal(out, hold(process, out, x, given))


def test_gradients_are_finite_at_both_ends(name):
  process, exact = make(name), oracle(name)
  x = JOINT.draw(0, 8)
  for t in (0.0, 1e-7, 1.0):

    def total(scale, t=t):
      # The exact denoiser rules symbols out with -inf; a network's logits are finite.
      denoise = lambda z, t, **c: scale * jnp.maximum(exact(z, t, **c), -30.0)  # noqa: E731
      return process.nelbo(jax.random.key(0), denoise, x, jnp.full(8, t)).sum()

    value, slope = jax.value_and_grad(total)(0.7)
    assert np.isfinite(value) and np.isfinite(slope)


def test_noise_of_a_row_depends_on_its_key_alone(name):
  process, x = make(name), JOINT.draw(0, 8)
  keys, t = jax.random.split(jax.random.key(0), 8), jnp.full(8, 0.5)
  whole = process.corrupt(keys, x, t)
  np.testing.assert_array_equal(whole, process.corrupt(jax.random.key(0), x, t))
  np.testing.assert_array_equal(whole[4:6], process.corrupt(keys[4:6], x[4:6], t[4:6]))


def test_an_unknown_field_names_the_nearest(name):
  with pytest.raises(UserError, match="did you mean 'schedule'"):
    make(name, schedul={"name": "linear"})
