import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.processes import absorbing
from dlm_jax.samplers import filters

PROBS = jnp.array([0.15, 0.5, 0.1, 0.25])


def probabilities(log_probs):
  return np.exp(np.asarray(log_probs))


@pytest.mark.parametrize(
  "top_p, expected",
  [
    (0.8, [0.15 / 0.9, 0.5 / 0.9, 0, 0.25 / 0.9]),  # .556, .278, .167: the crossing token is kept
    (0.6, [0, 2 / 3, 0, 1 / 3]),
    (0.4, [0, 1, 0, 0]),
    (1e-6, [0, 1, 0, 0]),
    (0.95, [0.15, 0.5, 0.1, 0.25]),
    (1.0, [0.15, 0.5, 0.1, 0.25]),
  ],
)
def test_nucleus(top_p, expected):
  found = probabilities(filters.nucleus(jnp.log(PROBS), top_p))
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_nucleus_of_equals_keeps_no_more_than_it_must():
  found = probabilities(filters.nucleus(jnp.log(jnp.full(4, 0.25)), 0.5))
  np.testing.assert_allclose(np.sort(found), [0, 0, 0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_temperature(temperature):
  weights = np.asarray(PROBS) ** (1 / temperature) if temperature else np.array([0, 1, 0, 0])
  found = probabilities(filters.sharpen(jnp.log(PROBS), temperature))
  np.testing.assert_allclose(found, weights / weights.sum(), atol=1e-6)


@pytest.mark.parametrize("temperature, top_p", [(0.0, 1.0), (0.5, 0.8), (2.0, 0.5)])
def test_a_certain_token_stays_certain(temperature, top_p):
  process = absorbing.make(vocab_size=4)
  z = jnp.array([[2, 4]])
  output = jnp.broadcast_to(jnp.log(PROBS), (1, 2, 4))
  t = jnp.ones(1)
  narrowed = filters.narrow(process, output, z, t, temperature, top_p)
  # What the process reads from the filtered output is what was filtered.
  read = probabilities(process.log_probs(narrowed, z, t))
  np.testing.assert_allclose(read[0, 0], [0, 0, 1, 0])
  np.testing.assert_allclose(read, probabilities(narrowed), atol=1e-6)
  np.testing.assert_allclose(read.sum(-1), 1, rtol=1e-6)


def test_nothing_to_filter_leaves_the_output_as_it_is():
  output = {"anything": 1}
  assert filters.narrow(None, output, None, None, 1.0, 1.0) is output
