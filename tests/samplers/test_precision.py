"""Why draws are float32: bfloat16 Gumbel noise has no tail, so a large vocabulary loses its own."""

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.processes import absorbing
from dlm_jax.processes.draws import row_categorical

VOCAB = 8192
ROWS = 400
# One token of probability a half; the other 8191 share the rest, about 6e-5 each.
LOGITS = jnp.zeros((ROWS, VOCAB)).at[:, 0].set(jnp.log(VOCAB - 1.0))
# Four standard deviations of a frequency of a half.
TOLERANCE = 4 * 0.5 / np.sqrt(ROWS)


def tail(tokens):
  return float(np.mean(np.asarray(tokens) != 0))


def test_bfloat16_draws_lose_the_tail():
  drawn = jax.random.categorical(jax.random.key(0), LOGITS.astype(jnp.bfloat16))
  assert tail(drawn) < 0.2  # of the half that is there


def test_bfloat16_draws_see_a_fraction_of_a_flat_vocabulary():
  """Many tokens tie at the largest noise that bfloat16 can hold, and the first of them wins."""
  flat = jnp.zeros((ROWS, VOCAB))
  low = jax.random.categorical(jax.random.key(0), flat.astype(jnp.bfloat16))
  full = row_categorical(jax.random.key(0), flat)
  assert np.mean(np.asarray(low) < VOCAB // 8) > 0.9
  assert abs(np.mean(np.asarray(full) < VOCAB // 8) - 1 / 8) < TOLERANCE


def test_float32_draws_keep_the_tail():
  assert abs(tail(row_categorical(jax.random.key(0), LOGITS)) - 0.5) < TOLERANCE


def test_the_process_draws_in_float32_from_a_bfloat16_network():
  process = absorbing.make(vocab_size=VOCAB)
  z = process.prior(jax.random.key(0), (ROWS, 1))
  output = LOGITS[:, None].astype(jnp.bfloat16)
  t, s = jnp.ones(ROWS), jnp.zeros(ROWS)
  prediction = process.predict(output, z, t)
  assert abs(tail(process.reverse(jax.random.key(0), prediction, z, t, s)) - 0.5) < TOLERANCE
