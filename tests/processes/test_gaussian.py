"""Gaussian diffusion of embeddings: terms in closed form, meanings of the output, invariances.

The bound of the exact denoiser is held to the entropy in `tests/contract`; here for every
parameterization, and with self-conditioning.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from dlm_jax.core.errors import UserError
from dlm_jax.processes import draws, gaussian
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.parts import embeddings, parameterizations
from dlm_jax.processes.parts.times import Times
from dlm_jax.schedules import gamma_schedules
from tests import toy

JOINT = toy.joint()
ROWS = 1 << 16
LINEAR = ["x", "epsilon", "v"]


def bound_draws(process, denoise, rows=ROWS, seed=0):
  x = JOINT.draw(seed, rows)
  t, _ = Times(epsilon=0.0).draw(jax.random.key(seed), rows, process)
  nats = jax.jit(lambda key: process.nelbo(key, denoise, x, t).sum(-1))(jax.random.key(seed + 1))
  return np.asarray(nats, np.float64)


def standard_error(draws):
  return draws.std() / np.sqrt(len(draws))


@pytest.mark.parametrize("parameterization", LINEAR)
@pytest.mark.parametrize("norm", ["unit", "root"])
def test_bound_is_the_entropy_in_every_parameterization(parameterization, norm):
  schedule = {"name": "logit_normal", "mean": -0.5 if norm == "unit" else 0.9}
  process = toy.gaussian_process(
    parameterization=parameterization, norm=norm, width=16, schedule=schedule
  )
  draws = bound_draws(process, toy.gaussian_denoiser(JOINT, process))
  assert standard_error(draws) < 0.03
  assert abs(draws.mean() - JOINT.entropy) < 4 * standard_error(draws)


def test_all_parameterizations_of_one_prediction_are_one_bound():
  """At equal noise, draw by draw, up to the first term, which needs logits in one of them."""
  draws = {}
  for name in LINEAR:
    process = toy.gaussian_process(parameterization=name)
    draws[name] = bound_draws(process, toy.gaussian_denoiser(JOINT, process), rows=256)
  np.testing.assert_allclose(draws["epsilon"], draws["x"], rtol=1e-2, atol=1e-2)
  np.testing.assert_allclose(draws["v"], draws["x"], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", LINEAR)
def test_conversions_are_inverse_and_mean_what_they_say(name):
  rng = np.random.default_rng(0)
  x, noise = rng.normal(size=(2, 4, 5, 6))
  alpha, sigma = 0.6, 0.8
  z = alpha * x + sigma * noise
  said = {"x": x, "epsilon": noise, "v": alpha * noise - sigma * x}[name]
  np.testing.assert_allclose(toy.output_of(name, x, z, alpha, sigma), said, atol=1e-12)
  np.testing.assert_allclose(parameterizations.to_x(name, said, z, alpha, sigma), x, atol=1e-12)


def test_the_bound_does_not_depend_on_the_interior_of_the_schedule():
  """At one sequence and one noise the mean over times is an integral over gamma: a quadrature.

  So the agreement is exact up to the grid of times, for a denoiser that is far from exact too.
  """
  rows = 4096
  x = np.broadcast_to(JOINT.sequences[5], (rows, JOINT.length))
  t = (jnp.arange(rows) + 0.5) / rows
  keys = jnp.broadcast_to(jax.random.key(0), rows)

  def bound(**schedule):
    process = toy.gaussian_process(schedule=schedule, parameterization="x")
    denoise = toy.wrong_denoiser(toy.gaussian_denoiser(JOINT, process))
    return float(process.nelbo(keys, denoise, x, t).sum(-1).mean())

  ends = {"gamma_min": -4.0, "gamma_max": 6.0}
  reference = bound(name="linear", **ends)
  edm = {"noise_min": np.exp(-2.0), "noise_max": np.exp(3.0), "scale": 1.0, "rho": 7.0}
  others = {"cosine": ends, "monotone": ends, "edm": edm}
  for name, fields in others.items():
    assert bound(name=name, **fields) == pytest.approx(reference, rel=1e-3), name
  # The ends do count.
  assert abs(bound(name="linear", gamma_min=-3.0, gamma_max=6.0) / reference - 1) > 0.05


def test_the_prior_term_is_the_divergence_of_two_normals():
  process = toy.gaussian_process(schedule={"name": "linear", "gamma_min": -5.0, "gamma_max": 1.0})
  alpha, sigma = (float(a[0, 0, 0]) for a in process.signal_and_noise(jnp.ones(1)))
  clean = np.asarray(process.embeddings)

  def divergence(mean):
    def integrand(z):
      log_ratio = (z**2 - (z - mean) ** 2 / sigma**2) / 2 - np.log(sigma)
      return np.exp(-((z - mean) ** 2) / (2 * sigma**2)) * log_ratio

    return integrate.quad(integrand, -12, 12)[0] / (sigma * np.sqrt(2 * np.pi))

  expected = [sum(divergence(alpha * e) for e in row) for row in clean]
  np.testing.assert_allclose(process.prior_divergence(process.embeddings), expected, rtol=1e-4)


def test_the_diffusion_term_of_a_constant_prediction_in_closed_form():
  """A denoiser that always says 0: |e|^2 = 1, so the term is (SNR(0) - SNR(1)) / 2."""
  process = toy.gaussian_process(
    parameterization="x", schedule={"name": "linear", "gamma_min": -2.0, "gamma_max": 4.0}
  )
  x = JOINT.draw(0, 4096)
  t = (jnp.arange(4096) + 0.5) / 4096
  terms = process._terms(jax.random.key(0), lambda z, t: jnp.zeros_like(z), x, t, None, 0.0)
  expected = (np.exp(2.0) - np.exp(-4.0)) / 2
  np.testing.assert_allclose(terms.diffusion.mean(), expected, rtol=1e-4)


@pytest.mark.parametrize("norm, size", [("unit", 1.0), ("root", 4.0)])
def test_embeddings_have_their_size_and_the_network_sees_unit_numbers(norm, size):
  process = toy.gaussian_process(width=16, norm=norm)
  np.testing.assert_allclose(jnp.linalg.norm(process.embeddings, axis=-1), size, rtol=1e-5)
  seen = []

  def network(z, t, self_condition):
    seen.append((z, t))
    return jnp.zeros((*z.shape[:2], 3))

  x, rows = JOINT.draw(0, 8192), 8192
  for time in (0.0, 0.5, 1.0):
    t = jnp.full(rows, time)
    process.precondition(network)(process.corrupt(jax.random.key(0), x, t), t)
    z, time_of_network = seen[-1]
    assert float(jnp.mean(z**2)) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(time_of_network, process.schedule.gamma(t) / embeddings.GAMMA_SCALE)


def test_the_output_prior_is_bayes_rule_for_a_single_token():
  """With a network that says nothing the logits are log p(x_i | z_i) of a uniform prior."""
  process = toy.gaussian_process()
  z, t = jax.random.normal(jax.random.key(0), (64, 3, 16)), jnp.linspace(0.2, 0.8, 64)
  silent = lambda z, t, self_condition: jnp.zeros((*z.shape[:2], 3))  # noqa: E731
  log_p = process.predict(process.precondition(silent)(z, t), z, t).log_probs
  alpha, sigma = process.signal_and_noise(t)
  distance = jnp.sum((z[:, :, None] - alpha[..., None] * process.embeddings) ** 2, axis=-1)
  expected = jax.nn.log_softmax(-distance / (2 * sigma**2))
  np.testing.assert_allclose(log_p, expected, atol=1e-3)


def test_the_output_prior_is_scaled_up_in_training_alone():
  process = toy.gaussian_process(prior_warmup_steps=10)
  z, t = jax.random.normal(jax.random.key(0), (2, 3, 16)), jnp.full(2, 0.5)
  silent = lambda z, t, self_condition: jnp.zeros((*z.shape[:2], 3))  # noqa: E731
  whole = process.precondition(silent)(z, t)
  for step, share in {0: 0.0, 5: 0.5, 10: 1.0, 99: 1.0}.items():
    scaled = process.at_step(jnp.int32(step)).precondition(silent)(z, t)
    np.testing.assert_allclose(scaled, share * whole, rtol=1e-6)
  assert float(jnp.abs(whole).max()) > 1


def test_a_shared_head_multiplies_by_the_embeddings():
  process = toy.gaussian_process(shared_head=True, output_prior=False)
  assert process.interface.columns == process.width
  network = lambda z, t, self_condition: z  # noqa: E731
  z, t = jax.random.normal(jax.random.key(0), (2, 3, 16)), jnp.full(2, 0.5)
  out = process.precondition(network)(z, t)
  alpha, sigma = process.signal_and_noise(t)
  scale = 1 / jnp.sqrt(alpha**2 / 16 + sigma**2)
  np.testing.assert_allclose(out, scale * z @ process.embeddings.T, rtol=1e-4, atol=1e-5)


def test_reverse_is_the_posterior_of_the_forward_process():
  """Its mean and variance, against z_s and z_t drawn forwards from one token."""
  process = toy.gaussian_process()
  t, s, rows = 0.6, 0.4, 1 << 16
  x = np.zeros((rows, 1), np.int32)
  alpha_t, sigma_t = (float(a[0, 0, 0]) for a in process.signal_and_noise(jnp.full(1, t)))
  alpha_s, sigma_s = (float(a[0, 0, 0]) for a in process.signal_and_noise(jnp.full(1, s)))
  z_s = process.corrupt(jax.random.key(0), x, jnp.full(rows, s))
  kept = alpha_t / alpha_s
  added = np.sqrt(sigma_t**2 - (kept * sigma_s) ** 2)
  z_t = kept * z_s + added * jax.random.normal(jax.random.key(1), z_s.shape)
  certain = jnp.where(jnp.arange(3) == 0, 0.0, -jnp.inf) * jnp.ones((rows, 1, 1))
  times = jnp.full(rows, t), jnp.full(rows, s)
  again = process.reverse(jax.random.key(2), Prediction(certain), z_t, *times)
  for moments in (lambda a: a.mean(0), lambda a: (a * z_t).mean(0), lambda a: (a**2).mean(0)):
    np.testing.assert_allclose(moments(again), moments(z_s), atol=0.02)


def test_self_conditioning_sees_the_first_prediction():
  process = toy.gaussian_process(self_conditioning=1.0)
  exact, seen = toy.gaussian_denoiser(JOINT), []

  def denoise(z, t, self_condition=None):
    seen.append(self_condition)
    return exact(z, t)

  x, t = JOINT.draw(0, 8), jnp.full(8, 0.5)
  process.nelbo(jax.random.key(0), denoise, x, t)
  assert seen[0] is None
  z = process.corrupt(jax.random.key(0), x, t)
  process.evaluate(denoise, z, t, process.mean)
  np.testing.assert_allclose(seen[-1], process.mean(process.predict(exact(z, t), z, t)), rtol=1e-5)


def test_self_conditioning_of_training_is_for_some_rows_and_has_no_gradient():
  process = toy.gaussian_process(self_conditioning=0.25, objective="cross_entropy")
  rows, seen = 4096, []

  def denoise(z, t, self_condition=None, scale=1.0):
    if self_condition is not None:
      seen.append(self_condition)
    return scale * z[..., :3]

  x, t = np.zeros((rows, 3), np.int32), jnp.full(rows, 0.5)
  process.loss(jax.random.key(0), denoise, x, t)
  chosen = np.asarray(jnp.any(seen[-1] != 0, axis=(1, 2)))
  assert chosen.mean() == pytest.approx(0.25, abs=0.03)

  def first_only(scale):
    """The parameter acts in the first pass alone."""

    def ours(z, t, self_condition=None):
      return scale * z[..., :3] if self_condition is None else self_condition[..., :3]

    return process.loss(jax.random.key(0), ours, x, t).sum()

  assert float(jax.grad(first_only)(1.0)) == 0.0


def test_objectives_are_what_they_say():
  x, rows = JOINT.draw(0, 64), 64
  t, key = jnp.full(rows, 0.7), jax.random.key(0)
  process = toy.gaussian_process(objective="cross_entropy")
  exact = toy.gaussian_denoiser(JOINT, process)
  noise_key, _, _ = draws.split_rows(key, rows, 3)
  z = process.corrupt(noise_key, x, t)
  log_p = process.predict(exact(z, t), z, t).log_probs
  picked = jnp.take_along_axis(log_p, x[..., None], axis=-1)[..., 0]
  np.testing.assert_allclose(
    toy.compiled(process.loss, key, exact, x, t), -picked, rtol=1e-4, atol=1e-5
  )

  process = toy.gaussian_process(objective="mse", parameterization="x")
  exact = toy.gaussian_denoiser(JOINT, process)
  terms = process._terms(key, exact, x, t, None, 0.0)
  expected = jnp.sum((process.embeddings[x] - exact(z, t)) ** 2, axis=-1)
  np.testing.assert_allclose(terms.squared_error, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
    process.loss(key, exact, x, t), expected + terms.cross_entropy + terms.prior, rtol=1e-4
  )


@pytest.mark.parametrize("name", ["monotone", "gumbel", "warped"])
def test_a_learned_schedule_has_a_gradient_and_does_not_change_the_loss(name):
  process = gaussian.make(vocab_size=3, schedule={"name": name}, objective="cross_entropy")
  params = process.init(jax.random.key(0))
  x, t = JOINT.draw(0, 32), (jnp.arange(32) + 0.5) / 32

  def loss(params):
    bound = process.bind(params)
    return bound.loss(jax.random.key(0), toy.gaussian_denoiser(JOINT, bound), x, t).sum()

  value, slope = jax.jit(jax.value_and_grad(loss))(params)
  bound = process.bind(params)
  plain = bound._terms(
    jax.random.key(0), toy.gaussian_denoiser(JOINT, bound), x, t, None, 0.0
  ).cross_entropy.sum()
  assert float(value) == pytest.approx(float(plain), rel=1e-5)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
  assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(slope["schedule"])) > 0


def test_the_schedule_for_the_variance_makes_it_smaller():
  """Plaid's schedule, trained on the toy joint: the same bound with less noise."""
  process = gaussian.make(
    vocab_size=3, schedule={"name": "monotone", "gamma_min": -9.0, "gamma_max": 7.0}
  )
  params = process.init(jax.random.key(0))
  x = jnp.asarray(JOINT.draw(0, 1024))

  @jax.jit
  def step(params, moments, key):
    def loss(schedule):
      bound = process.bind(params | {"schedule": schedule})
      t, _ = Times(epsilon=0.0).draw(key, len(x), bound)
      return bound.loss(key, toy.gaussian_denoiser(JOINT, bound), x, t).mean()

    slope = jax.grad(loss)(params["schedule"])
    slope["ends"] = jnp.zeros(2)
    moments = jax.tree.map(lambda m, s: 0.9 * m + 0.1 * s**2, moments, slope)
    schedule = jax.tree.map(
      lambda p, s, m: p - 0.03 * s / (jnp.sqrt(m) + 1e-8), params["schedule"], slope, moments
    )
    return params | {"schedule": schedule}, moments

  trained, moments = params, jax.tree.map(jnp.zeros_like, params["schedule"])
  for key in jax.random.split(jax.random.key(1), 200):
    trained, moments = step(trained, moments, key)
  before, after = (
    bound_draws(bound, toy.gaussian_denoiser(JOINT, bound))
    for bound in (process.bind(params), process.bind(trained))
  )
  assert after.std() < 0.75 * before.std()
  error = np.hypot(standard_error(before), standard_error(after))
  assert abs(after.mean() - before.mean()) < 4 * error


@pytest.mark.parametrize("name", sorted(gamma_schedules.classes()))
def test_gradients_are_finite_at_both_ends_of_every_schedule(name):
  process = gaussian.make(vocab_size=3, schedule={"name": name})
  params = process.init(jax.random.key(0))

  @jax.jit
  @jax.value_and_grad
  def total(params, t):
    bound = process.bind(params)
    denoise = bound.precondition(lambda z, t, self_condition: jnp.zeros((*z.shape[:2], 3)))
    return bound.loss(jax.random.key(0), denoise, JOINT.draw(0, 8), jnp.full(8, t)).sum()

  for t in (0.0, 1e-7, 1.0):
    value, slope = total(params, t)
    assert np.isfinite(value) and all(np.isfinite(s).all() for s in jax.tree.leaves(slope))


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"objective": "cross_entropie"}, "did you mean 'cross_entropy'"),
    ({"norm": "unti"}, "did you mean 'unit'"),
    ({"parameterization": "eps"}, "did you mean 'epsilon'"),
    ({"width": 0}, "Gaussian.width must be at least 1, got 0"),
    ({"self_conditioning": 1.5}, r"self_conditioning must lie in \[0, 1\], got 1.5"),
    ({"reconstruction_share": 0.0}, "reconstruction_share must lie between"),
    ({"parameterization": "x", "objective": "cross_entropy"}, "needs logits"),
    ({"parameterization": "v", "schedule": {"name": "gumbel"}}, "schedule 'gumbel' needs logits"),
    ({"parameterization": "x", "shared_head": True}, "shared_head needs logits"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    gaussian.make(vocab_size=3, **fields)
