"""Schedules: exact derivatives and inverses, safe ends. New ones are found by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.schedules import alpha_schedules

ALL = sorted(alpha_schedules.classes())
# Distance of alpha from its ends: the two schedules of the papers that stop short of them.
SHORT = {"geometric": 1.1e-4, "log_linear": 1.1e-3}
INSIDE = np.linspace(0.02, 0.98, 49, dtype=np.float32)

# alpha at t = 0.25, in float64 from the papers' formulas.
VALUES = {
  "linear": 0.75,
  "cosine": 1 - np.cos(np.pi / 2 * 0.75),
  "cosine_squared": np.cos(np.pi / 8) ** 2,
  "polynomial": 1 - 0.25**2,
  "square_root": 0.5,
  "log2": 1 - np.log2(1.25),
  "geometric": np.exp(-(1e-4**0.75 * 20**0.25)),
  "log_linear": 1 - 0.999 * 0.25,
}


def test_every_schedule_has_its_paper_value():
  assert sorted(VALUES) == ALL


@pytest.mark.parametrize("name", ALL)
def test_alpha_is_the_paper_s(name):
  assert float(alpha_schedules.make({"name": name}).alpha(jnp.float32(0.25))) == pytest.approx(
    VALUES[name], rel=2e-6
  )


@pytest.mark.parametrize("name", ALL)
def test_sigma_is_minus_log_alpha_of_a_schedule_that_ends_above_0(name):
  """For the linear one -log(1 - (1 - 1e-3) t), what MDLM, UDLM and Duo give their networks."""
  schedule = alpha_schedules.make({"name": name})
  least = 0.0 if name in SHORT else 1e-3
  t = np.float32([0.0, 1e-4, 0.25, 0.9, 1.0])
  expected = -np.log(least + (1 - least) * np.asarray(schedule.alpha(t), np.float64))
  np.testing.assert_allclose(schedule.sigma(t), expected, rtol=1e-3, atol=1e-6)
  end = {"geometric": 20.0}.get(name, -np.log(1e-3))
  assert float(schedule.sigma(jnp.float32(1.0))) == pytest.approx(end, rel=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_derivative_is_autodiff_s(name):
  schedule = alpha_schedules.make({"name": name})
  slope = jax.vmap(jax.grad(schedule.alpha))(INSIDE)
  np.testing.assert_allclose(schedule.alpha_derivative(INSIDE), slope, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_inverse_round_trip(name):
  schedule = alpha_schedules.make({"name": name})
  np.testing.assert_allclose(schedule.inverse(schedule.alpha(INSIDE)), INSIDE, atol=3e-5)
  alpha = schedule.alpha(INSIDE)
  np.testing.assert_allclose(schedule.alpha(schedule.inverse(alpha)), alpha, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_one_minus_alpha_keeps_its_digits_near_zero(name):
  schedule = alpha_schedules.make({"name": name})
  with jax.enable_x64(True):
    t = jnp.asarray(1e-5, jnp.float64)
    exact = float(1.0 - schedule.alpha(t))
  assert float(schedule.one_minus_alpha(jnp.float32(1e-5))) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_decreasing_and_safe_at_both_ends(name):
  schedule = alpha_schedules.make({"name": name})
  t = jnp.asarray([0.0, 1e-7, 0.5, 1.0 - 1e-7, 1.0], jnp.float32)
  alpha, slope = schedule.alpha(t), schedule.alpha_derivative(t)
  assert np.isfinite(alpha).all() and np.isfinite(slope).all() and (slope <= 0).all()
  assert (np.diff(alpha) <= 1e-6).all() and (alpha >= 0).all() and (alpha <= 1).all()
  assert abs(alpha[0] - 1) <= SHORT.get(name, 1e-6) and alpha[-1] <= SHORT.get(name, 1e-6)
  times = schedule.inverse(jnp.asarray([0.0, 1.0], jnp.float32))
  np.testing.assert_allclose(times, [1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
  ("config", "sentence"),
  [
    ({"name": "cosin"}, "did you mean 'cosine'"),
    ("cosine", "by its name and its fields, as in"),
    ({}, "there is no schedule None"),
    ({"name": "polynomial", "exponnent": 3.0}, "did you mean 'exponent'"),
    ({"name": "polynomial", "exponent": 0.0}, "Polynomial.exponent must be above 0"),
    ({"name": "geometric", "sigma_min": 2.0, "sigma_max": 1.0}, "sigma_min < sigma_max"),
    ({"name": "log_linear", "epsilon": 1.0}, "LogLinear.epsilon must lie in"),
  ],
)
def test_mistakes_are_named(config, sentence):
  with pytest.raises(UserError, match=sentence):
    alpha_schedules.make(config)
