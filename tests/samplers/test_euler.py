import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, hybrid, score_entropy, uniform
from dlm_jax.samplers import euler

V = 3
P = np.array([0.6, 0.3, 0.1])


@pytest.mark.parametrize("p_u", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("z", [0, V])
def test_rates_are_those_of_the_reverse_step(p_u, z):
  """q(z_s = y | z_t) = (t - s) rate_y as s approaches t."""
  if (p_u, z) in ((0.0, 0), (1.0, V)):
    pytest.skip("noise never makes that state of another")
  process, t, s, rows = hybrid.make(vocab_size=V, p_u=p_u), 0.6, 0.59, 400_000
  logits = jnp.log(jnp.asarray(P))[None, None]
  state = jnp.array([[z]])
  rates = np.exp(process.log_jump_rates(logits, state, jnp.array([t])))[0, 0]
  assert rates[z] == 0
  out = process.reverse(
    jax.random.key(0),
    jnp.broadcast_to(logits, (rows, 1, V)),
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
  expected = np.exp(reference.log_jump_rates(log_p, z, t))
  assert expected[:, 0].sum() > 1 and not expected[:, 1:].any()
  masks = hybrid.make(vocab_size=V, p_u=0.0)
  np.testing.assert_allclose(
    np.exp(masks.log_jump_rates(log_p, z, t))[..., :V], expected, rtol=1e-5
  )
  score = score_entropy.make(vocab_size=V, schedule={"name": "linear"})
  found = np.exp(score.log_jump_rates(score.output_of(log_p, z, t), z, t))
  np.testing.assert_allclose(found, expected, rtol=1e-5)

  z, geometric = jnp.array([[1, 0, 2]] * 8), {"name": "geometric"}
  score = score_entropy.make(vocab_size=V, noise="uniform")
  expected = np.exp(uniform.make(vocab_size=V, schedule=geometric).log_jump_rates(log_p, z, t))
  found = np.exp(score.log_jump_rates(score.output_of(log_p, z, t), z, t))
  np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_last_step_leaves_no_mask():
  """Under a cosine schedule Euler's own last step would: its chance to jump is below 1."""
  process = absorbing.make(vocab_size=V, schedule={"name": "cosine"})
  denoise = lambda z, t: jnp.zeros((*z.shape, V))  # noqa: E731
  run = lambda key: euler.sample(key, process, denoise, (500, 8), steps=2)  # noqa: E731
  assert not np.any(np.asarray(jax.jit(run)(jax.random.key(0)).tokens) == V)


def test_only_where_rates_are_known():
  class Other:
    pass

  with pytest.raises(UserError, match=r"euler.*not defined.*Other.*absorbing, hybrid.*uniform"):
    euler.sample(None, Other(), None, (1, 1), steps=1)
