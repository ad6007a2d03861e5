"""Filters of predictions against probabilities by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.processes import absorbing
from dlm_jax.processes.base import Prediction
from dlm_jax.samplers import filters
from dlm_jax.samplers.filters import Filters

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


@pytest.mark.parametrize(
  "fields", [{"temperature": 0.0}, {"temperature": 0.5, "top_p": 0.8}, {"forbidden": (2,)}], ids=str
)
def test_a_certain_token_stays_certain(fields):
  process = absorbing.make(vocab_size=4)
  z = jnp.array([[2, 4]])
  output = jnp.broadcast_to(jnp.log(PROBS), (1, 2, 4))
  filtered = Filters(**fields)(process.predict(output, z, jnp.ones(1)))
  read = probabilities(filtered.log_probs)
  np.testing.assert_allclose(read[0, 0], [0, 0, 1, 0])
  np.testing.assert_allclose(read.sum(-1), 1, rtol=1e-6)
  assert np.abs(read[0, 1] - PROBS).max() > 0.05


def test_a_forbidden_token_is_not_drawn_and_takes_no_rank():
  """.15, .5, .1, .25 without the second: of the two most likely ones left, half to each power."""
  filtered = Filters(forbidden=(1,), top_k=2, temperature=0.5)(Prediction(jnp.log(PROBS)))
  expected = np.array([0.15, 0, 0, 0.25]) ** 2
  np.testing.assert_allclose(
    probabilities(filtered.log_probs), expected / expected.sum(), atol=1e-6
  )


def test_a_filter_drops_what_the_process_reads_beside_the_probabilities():
  prediction = Prediction(jnp.log(PROBS), estimate=jnp.ones(2))
  assert Filters()(prediction) is prediction
  assert Filters(temperature=0.5)(prediction).estimate is None
