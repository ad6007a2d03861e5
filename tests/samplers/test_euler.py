"""The rates that Euler sampling holds over a step, and its last step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.processes import absorbing, hybrid, score_absorbing, score_uniform, uniform
from dlm_jax.processes.base import Prediction
from tests.samplers import drawing

V = 3
P = np.array([0.6, 0.3, 0.1])


@pytest.mark.parametrize("p_u", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("z", [0, V])
def test_rates_are_those_of_the_reverse_step(p_u, z):
  """q(z_s = y | z_t) = (t - s) rate_y as s approaches t."""
  if (p_u, z) in ((0.0, 0), (1.0, V)):
    pytest.skip("noise never makes that state of another")
  process, t, s, rows = hybrid.make(vocab_size=V, p_u=p_u), 0.6, 0.59, 400_000
  log_p = jnp.log(jnp.asarray(P))[None, None]
  state = jnp.array([[z]])
  rates = np.exp(process.log_jump_rates(Prediction(log_p), state, jnp.array([t])))[0, 0]
  assert rates[z] == 0
  out = process.reverse(
    jax.random.key(0),
    Prediction(jnp.broadcast_to(log_p, (rows, 1, V))),
    jnp.full((rows, 1), z),
    jnp.full(rows, t),
    jnp.full(rows, s),
  )
  found = np.bincount(np.asarray(out)[:, 0], minlength=V + 1) / rows
  expected = 0.01 * np.pad(rates, (0, V + 1 - len(rates)))
  moved = np.arange(V + 1) != z
  error = 4 * np.sqrt(expected[moved] / rows) + 0.05 * expected[moved]
  assert np.all(np.abs(found - expected)[moved] <= error)


def test_the_parameterizations_agree_on_the_rates():
  t, z = jnp.full(8, 0.5), jnp.array([[V, 0, 2]] * 8)
  log_p = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (8, 3, V)))
  reference = absorbing.make(vocab_size=V)
  expected = np.exp(reference.log_jump_rates(reference.predict(log_p, z, t), z, t))
  assert expected[:, 0].sum() > 1 and not expected[:, 1:].any()
  masks = hybrid.make(vocab_size=V, p_u=0.0)
  np.testing.assert_allclose(
    np.exp(masks.log_jump_rates(Prediction(log_p), z, t))[..., :V], expected, rtol=1e-5
  )
  score = score_absorbing.make(vocab_size=V, schedule={"name": "linear"})
  found = np.exp(score.log_jump_rates(Prediction(log_p), z, t))
  np.testing.assert_allclose(found, expected, rtol=1e-5)

  z, geometric = jnp.array([[1, 0, 2]] * 8), {"name": "geometric"}
  reference = uniform.make(vocab_size=V, schedule=geometric)
  expected = np.exp(reference.log_jump_rates(Prediction(log_p), z, t))
  found = np.exp(score_uniform.make(vocab_size=V).log_jump_rates(Prediction(log_p), z, t))
  np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_last_step_leaves_no_mask():
  """Under a cosine schedule Euler's own last step would: its chance to jump is below 1."""
  process = absorbing.make(vocab_size=V, schedule={"name": "cosine"})
  denoise = lambda z, t: jnp.zeros((*z.shape, V))  # noqa: E731
  result = drawing.draw(drawing.make("euler"), process, denoise, (500, 8), steps=2)
  assert not np.any(result.tokens == V)
