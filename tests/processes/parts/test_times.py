"""Times: in range, of low discrepancy over the batch, unbiased under the importance transform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, uniform
from dlm_jax.processes.parts.times import SAMPLING, Times

LINEAR = absorbing.make(vocab_size=3)


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("epsilon", [0.0, 0.25])
def test_times_fill_the_interval(sampling, epsilon):
  draw = jax.vmap(lambda key: Times(sampling, epsilon).draw(key, 16, LINEAR)[0])
  t = np.asarray(draw(jax.random.split(jax.random.key(0), 4096)))
  assert t.min() > epsilon - 1e-6 and t.min() > 0 and t.max() <= 1
  quantiles = epsilon + (1 - epsilon) * np.array([0.1, 0.5, 0.9])
  np.testing.assert_allclose(np.quantile(t, [0.1, 0.5, 0.9]), quantiles, atol=0.01)


@pytest.mark.parametrize("sampling", ["antithetic", "shared_offset"])
def test_one_time_in_each_stratum(sampling):
  t, _ = Times(sampling, 0.0).draw(jax.random.key(3), 32, LINEAR)
  shifts = 32 * (1 - np.sort(t)[::-1])
  strata = np.floor(shifts - (shifts.min() if sampling == "shared_offset" else 0) + 1e-4)
  np.testing.assert_array_equal(strata, np.arange(32))


def test_shared_offset_is_evenly_spaced():
  t, _ = Times("shared_offset", 0.0).draw(jax.random.key(3), 32, LINEAR)
  np.testing.assert_allclose(np.diff(np.sort(t)), 1 / 32, atol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "geometric"])
def test_importance_keeps_the_mean_and_flattens_the_weight(schedule):
  process = absorbing.make(vocab_size=3, schedule={"name": schedule})
  rows, epsilon = 1 << 16, 1e-2
  f = lambda t: process.weight(t) * process.masked(t) ** 2  # noqa: E731
  plain, _ = Times("shared_offset", epsilon).draw(jax.random.key(0), rows, process)
  t, weight = Times("shared_offset", epsilon, importance=True).draw(
    jax.random.key(0), rows, process
  )
  assert (t >= epsilon * 0.99).all()
  expected = float(f(plain).mean()) * (1 - epsilon)
  assert float((weight * f(t)).mean()) == pytest.approx(expected, rel=2e-3)
  flat = (weight * process.weight(t))[process.weight(t) > 1e-3]
  np.testing.assert_allclose(flat, flat[0], rtol=1e-4)


def test_importance_is_finite_where_the_density_vanishes():
  process = absorbing.make(vocab_size=3, schedule={"name": "cosine"})
  t, weight = Times(importance=True).draw(jax.random.key(0), 1 << 12, process)
  assert np.isfinite(t).all() and np.isfinite(weight).all()
  assert jnp.isfinite(weight * process.weight(t)).all()


def test_importance_needs_a_masked_fraction():
  with pytest.raises(UserError, match=r"times\.importance .* Uniform does not have"):
    Times(importance=True).draw(jax.random.key(0), 4, uniform.make(vocab_size=3))


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"sampling": "antithetik"}, "did you mean 'antithetic'"),
    ({"epsilon": 0.0, "importance": True}, "needs a times.epsilon above 0"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    Times(**fields)
