"""The entry that a token names, and its gradient, beside those of a gather."""

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.core.entries import at_token


def test_the_entry_and_its_gradient_are_those_of_a_gather():
  values = jax.random.normal(jax.random.key(0), (2, 3, 5))
  weights = jax.random.normal(jax.random.key(1), (2, 3))
  x = jnp.array([[0, 4, 2], [1, 1, 3]])
  gather = lambda v: jnp.take_along_axis(v, x[..., None], axis=-1)[..., 0]  # noqa: E731
  np.testing.assert_array_equal(at_token(values, x), gather(values))
  slopes = (
    jax.grad(lambda v, pick=pick: jnp.sum(weights * jnp.tanh(pick(jnp.sin(v)))))(values)
    for pick in (lambda v: at_token(v, x), gather)
  )
  np.testing.assert_allclose(*slopes, rtol=1e-6)
