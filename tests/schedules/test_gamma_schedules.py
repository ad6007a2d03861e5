"""Schedules of gamma: values of the papers, monotone, finite ends, and what learned ones learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from dlm_jax.core.errors import UserError
from dlm_jax.schedules import gamma_schedules
from dlm_jax.schedules.gamma_schedules import LearnedSchedule

ALL = sorted(gamma_schedules.classes())
INSIDE = np.linspace(0.02, 0.98, 49, dtype=np.float32)


def logit(p):
  return np.log(p / (1 - p))


# gamma at t = 0.25, in float64 from the papers' formulas; of learned ones before training.
VALUES = {
  "linear": -5.0,
  "cosine": 2
  * np.log(np.tan(0.75 * np.arctan(np.exp(-5)) + 0.25 * np.arctan(np.exp(5)))),  # ends at -10, 10
  "sqrt": logit(np.sqrt(1e-4 + 0.25 * ((1 + np.exp(-8)) ** -2 - 1e-4))),
  "edm": -np.log(256 / (2 + 0.25 * 298) ** 2),
  "logit_normal": 2 * stats.norm.ppf(0.25),
  "gumbel": 4.723 - 0.852 * np.log(-np.log(0.25)),
  "warped": -4.16 + 0.25 * (5.86 + 4.16),
  "monotone": None,
}


def make(name, **fields):
  schedule = gamma_schedules.make({"name": name, **fields})
  return schedule.bind(schedule.init()) if isinstance(schedule, LearnedSchedule) else schedule


def test_every_schedule_has_its_paper_value():
  assert sorted(VALUES) == ALL


@pytest.mark.parametrize("name", [name for name in ALL if VALUES[name] is not None])
def test_gamma_is_the_paper_s(name):
  assert float(make(name).gamma(jnp.float32(0.25))) == pytest.approx(VALUES[name], abs=2e-4)


@pytest.mark.parametrize("name", ALL)
def test_increasing_and_finite_at_both_ends(name):
  schedule = make(name)
  t = jnp.asarray([0.0, 1e-7, 0.25, 0.5, 1.0 - 1e-7, 1.0], jnp.float32)
  gamma, slope = schedule.gamma(t), schedule.gamma_derivative(t)
  assert np.isfinite(gamma).all() and np.isfinite(slope).all() and (slope > 0).all()
  assert (np.diff(gamma) >= -1e-5).all() and gamma[-1] > gamma[0] + 1


@pytest.mark.parametrize("name", ALL)
def test_derivative_is_the_difference_quotient(name):
  schedule, h = make(name), 1e-3
  quotient = (schedule.gamma(INSIDE + h) - schedule.gamma(INSIDE - h)) / (2 * h)
  np.testing.assert_allclose(schedule.gamma_derivative(INSIDE), quotient, rtol=0.02)


def test_monotone_reaches_its_ends_and_starts_almost_straight():
  gamma = make("monotone").gamma(jnp.linspace(0, 1, 11))
  np.testing.assert_allclose(gamma, np.linspace(-3, 6, 11), atol=0.25)
  np.testing.assert_allclose([gamma[0], gamma[-1]], [-3, 6], atol=1e-5)


def test_the_gradient_of_monotone_is_that_of_the_second_moment():
  """Against autodiff of E[(gamma' h(gamma))^2] through a known h, on a fine grid of t."""
  schedule = gamma_schedules.make({"name": "monotone", "bumps": 4})
  params = schedule.init() | {"height": jnp.float32([0.0, -1.0, 0.5, -2.0])}
  t = (jnp.arange(20_000) + 0.5) / 20_000

  def h(gamma):
    return jnp.exp(-((gamma - 1.0) ** 2) / 2) + 0.1

  def second_moment(params):
    interior = lambda t: -3.0 + 9.0 * gamma_schedules._interior(params, t)  # noqa: E731
    gamma, slope = jax.jvp(interior, (t,), (jnp.ones_like(t),))
    return jnp.mean((slope * h(gamma)) ** 2)

  def fitted(params):
    bound = schedule.bind(params)
    nats = bound.gamma_derivative(t) * h(bound.gamma(t))
    return jnp.mean(bound.fit(t, nats, None))

  expected, ours = jax.grad(second_moment)(params), jax.grad(fitted)(params)
  for name in ("height", "slope", "place"):
    assert np.abs(expected[name]).max() > 1e-2
    np.testing.assert_allclose(ours[name], expected[name], rtol=2e-2, atol=2e-3, err_msg=name)
  np.testing.assert_array_equal(ours["ends"], 0.0)


def trained(schedule, curve, steps=1000):
  """The schedule after steps of Adam on its own loss, `curve(gamma)` being nats there."""
  t, adam = (jnp.arange(256) + 0.5) / 256, optax.adam(0.02)

  def step(_, carry):
    params, state = carry

    def loss(params):
      bound = schedule.bind(params)
      nats = curve(bound.gamma(t))
      return jnp.mean(bound.fit(t, nats, nats))

    updates, state = adam.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  params = schedule.init()
  return schedule.bind(jax.lax.fori_loop(0, steps, step, (params, adam.init(params)))[0])


def test_gumbel_finds_the_curve_of_the_cross_entropy():
  curve = lambda gamma: 3.0 * jnp.exp(-jnp.exp(-(gamma - 1.0) / 0.7))  # noqa: E731
  found = trained(gamma_schedules.make({"name": "gumbel", "location": 0.0, "entropy": 4.0}), curve)
  assert float(found.params["location"]) == pytest.approx(1.0, abs=0.05)
  assert float(jnp.exp(found.params["log_scale"])) == pytest.approx(0.7, abs=0.05)
  assert float(jnp.exp(found.params["log_entropy"])) == pytest.approx(3.0, abs=0.05)


def test_warping_makes_the_cross_entropy_rise_evenly():
  curve = lambda gamma: 3.0 * jax.nn.sigmoid(2 * (gamma - 1.0))  # noqa: E731
  schedule = gamma_schedules.make({"name": "warped", "bins": 20, "entropy": 3.0})
  found = curve(trained(schedule, curve).gamma(jnp.linspace(0.0, 1.0, 11)))
  np.testing.assert_allclose(found, np.linspace(0, 3, 11), atol=0.3)
  before = curve(schedule.bind(schedule.init()).gamma(jnp.linspace(0.0, 1.0, 11)))
  assert np.abs(before - np.linspace(0, 3, 11)).max() > 0.8


@pytest.mark.parametrize(
  ("config", "sentence"),
  [
    ({"name": "gumble"}, "did you mean 'gumbel'"),
    ({"name": "linear", "gama_min": 1.0}, "did you mean 'gamma_min'"),
    ({"name": "linear", "gamma_min": 3.0, "gamma_max": 1.0}, "gamma_min < gamma_max"),
    ({"name": "edm", "noise_min": 3.0, "noise_max": 1.0}, "noise_min < noise_max"),
  ],
)
def test_mistakes_are_named(config, sentence):
  with pytest.raises(UserError, match=sentence):
    gamma_schedules.make(config)
