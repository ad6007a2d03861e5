"""Learned schedules a token: the bound, its two limits, and the gradient that autodiff misses."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, generalized_absorbing
from tests import toy

JOINT = toy.joint()
V, L = JOINT.vocab_size, JOINT.length
W = np.array([0.6, 1.0, 2.5], np.float32)


def process(w=W, **fields):
  made = generalized_absorbing.make(vocab_size=V, **fields)
  return dataclasses.replace(made, learned=jnp.asarray(w))


def noise_matrix(process):
  """The q of `toy.quadrature_bound`: of the time that the bound looks at, from `start` on."""

  def q(t):
    masked = (process.start + (1 - process.start) * t) ** process.exponents
    return jnp.concatenate([jnp.diag(1 - masked), masked[:, None]], axis=1)

  return q


def bound(process, denoise):
  return toy.quadrature_bound(JOINT, process, denoise, noise_matrix(process))


@pytest.mark.parametrize("w", [W, np.array([1.0, 1.0, 1.0]), np.array([4.0, 0.5, 1.5])])
def test_bound_of_the_exact_denoiser_is_the_entropy(w):
  exact = toy.generalized_denoiser(JOINT, w)
  assert bound(process(w, start=0.0), exact) == pytest.approx(JOINT.entropy, rel=5e-4)
  assert bound(process(w, start=0.0), toy.wrong_denoiser(exact)) > JOINT.entropy * 1.01


def test_the_denoiser_must_know_the_time():
  """That of equal schedules knows z alone; what is masked longest is likeliest of large w."""
  assert bound(process(start=0.0), toy.absorbing_denoiser(JOINT)) > JOINT.entropy * 1.01


def test_from_a_late_start_it_is_a_bound_with_the_reconstruction():
  """The reconstruction knows the schedules alone, so that the bound is a little above the entropy.
  Without it it is below."""
  exact, late = toy.generalized_denoiser(JOINT, W), process(start=0.02)
  x = np.arange(V)
  m = 0.02**W
  expected = m * -np.log(m / m.sum())
  np.testing.assert_allclose(late._reconstruction(x), expected, rtol=1e-5)
  reconstruction = np.sum(JOINT.probs * expected[JOINT.sequences].sum(-1))
  total = bound(late, exact)
  assert JOINT.entropy * 1.001 < total < JOINT.entropy * 1.01
  assert total - reconstruction < JOINT.entropy * 0.99


def test_equal_schedules_are_absorbing_draw_by_draw():
  x, t = JOINT.draw(0, 512), jax.random.uniform(jax.random.key(1), (512,))
  denoise = toy.wrong_denoiser(toy.absorbing_denoiser(JOINT))
  for exponent in (1.0, 2.0):
    schedule = {"name": "polynomial", "exponent": exponent}
    general = generalized_absorbing.make(vocab_size=V, schedule=schedule, start=0.0)
    learned = general.bind(general.init(jax.random.key(0)))
    plain = absorbing.make(vocab_size=V, schedule=schedule)
    expected = plain.nelbo(jax.random.key(2), denoise, x, t)
    for each in (general, learned):
      found = each.nelbo(jax.random.key(2), denoise, x, t)
      np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def network(z, t):
  """Some smooth function of z and t as logits: its predictions are neither right nor even."""
  index = jnp.sum(z * jnp.array([1, 5, 7]), axis=-1)[:, None, None]
  grid = jnp.arange(L)[:, None] + 2.0 * jnp.arange(V)
  return jnp.sin(index + grid) + t[:, None, None]


def raw(w):
  return jnp.log(jnp.expm1(w))


def bind(params):
  made = generalized_absorbing.make(vocab_size=V, start=1e-3)
  return made.bind({"schedule": {"exponents": params}})


def enumerated(params, x, t, *, differentiate_noise):
  """The exact mean of the integrand over z, for one x and one t."""
  masks = toy.joint_states(2, L).astype(bool)
  z, x = jnp.where(masks, V, x), jnp.broadcast_to(x, masks.shape)
  bound_process = bind(params)
  tau = 1e-3 + (1 - 1e-3) * t
  w = bound_process.exponents[x]
  noise = jnp.prod(jnp.where(masks, tau**w, 1 - tau**w), axis=-1)
  if not differentiate_noise:
    noise = jax.lax.stop_gradient(noise)
  fixed = toy.noised_as(bound_process, z)
  nats = fixed.nelbo(jax.random.key(0), network, x, jnp.full(len(z), t)).sum(-1)
  return jnp.sum(noise * nats)


@pytest.mark.parametrize("t", [0.2, 0.7])
def test_the_leave_one_out_gradient_is_that_of_the_exact_bound(t):
  x, params, rows = jnp.array([0, 2, 1]), raw(jnp.asarray(W)), 200_000
  exact = jax.grad(partial(enumerated, x=x, t=t, differentiate_noise=True))(params)
  naive = jax.grad(partial(enumerated, x=x, t=t, differentiate_noise=False))(params)

  def row_gradients(key):
    def loss(params):
      args = (key[None], network, x[None], jnp.full(1, t))
      return bind(params).loss(*args).sum()

    return jax.grad(loss)(params)

  draws = jax.jit(jax.vmap(row_gradients))(jax.random.split(jax.random.key(0), rows))
  mean, error = draws.mean(0), draws.std(0) / np.sqrt(rows)
  assert np.all(np.abs(mean - exact) < 4 * error)
  assert np.any(np.abs(naive - exact) > 20 * error)  # what autodiff alone would give


def test_the_loss_is_the_mean_of_the_integrand_at_two_draws():
  made, x = process(), JOINT.draw(0, 4096)
  t = jnp.full(len(x), 0.5)
  loss = np.asarray(made.loss(jax.random.key(0), network, x, t))
  nelbo = np.asarray(made.nelbo(jax.random.key(1), network, x, t))
  assert loss.mean() == pytest.approx(nelbo.mean(), rel=0.05)
  assert loss.sum(-1).std() < 0.8 * nelbo.sum(-1).std()


@pytest.mark.parametrize("t", [0.0, 1e-6, 1.0])
def test_the_gradient_of_the_schedules_is_finite_at_both_ends(t):
  x = JOINT.draw(0, 64)
  made = generalized_absorbing.make(vocab_size=V)

  def total(params):
    return made.bind(params).loss(jax.random.key(0), network, x, jnp.full(64, t)).sum()

  value, slope = jax.value_and_grad(total)(made.init(jax.random.key(0)))
  assert np.isfinite(value) and np.isfinite(slope["schedule"]["exponents"]).all()
  given = np.zeros(x.shape, bool)
  given[:, 0] = True
  assert not np.asarray(made.loss(jax.random.key(0), network, x, jnp.full(64, t), given))[
    given
  ].any()


def test_reverse_draws_from_the_posterior():
  made, rows = process(), 100_000
  logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
  z = jnp.full((rows, 1), V)
  t, s = jnp.full(rows, 0.8), jnp.full(rows, 0.6)
  prediction = made.predict(jnp.broadcast_to(logits, (rows, 1, V)), z, t)
  drawn = made.reverse(jax.random.key(0), prediction, z, t, s)
  p = np.exp(logits) * (1 - (0.6 / 0.8) ** W)
  expected = np.append(p, 1 - p.sum())
  found = np.bincount(np.asarray(drawn)[:, 0], minlength=V + 1) / rows
  np.testing.assert_allclose(found, expected, atol=4 * 0.5 / np.sqrt(rows))


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"schedule": {"name": "cosine"}}, "'polynomial', got Cosine"),
    ({"start": 1.0}, r"GeneralizedAbsorbing\.start must lie in \[0, 1\), got 1\.0"),
    ({"strat": 0.1}, "did you mean 'start'"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    generalized_absorbing.make(vocab_size=V, **fields)
