"""The train state: its average, its counts of skipped steps, its buffers."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlm_jax.training import state

OPTIMIZER = optax.sgd(1.0)


def stepped(current, gradient, ok=True, decay=0.9):
  gradients = {"w": jnp.asarray([gradient], jnp.float32)}
  return state.apply_gradients(current, gradients, jnp.asarray(ok), OPTIMIZER, decay)


def first(**fields):
  return state.init({"w": jnp.zeros(1)}, OPTIMIZER, **fields)


def test_the_decay_warms_up():
  decays = state.warm_decay(jnp.asarray([0.0, 8.0, 1e6]), 0.99)
  np.testing.assert_allclose(decays, [0.1, 0.5, 0.99])


def test_skipped_steps_do_not_warm_the_average_up():
  """Two updates of -1 give the same average with and without skipped steps between them."""
  plain = stepped(stepped(first(), 1.0), 1.0)
  current = stepped(first(), 1.0)
  for _ in range(20):
    current = stepped(current, 5.0, ok=False)
  current = stepped(current, 1.0)
  # Decays 1/10 and 2/11: 0.9 of the first update, then towards -2.
  assert float(plain.ema["w"][0]) == pytest.approx(-0.9 * 2 / 11 - 2 * 9 / 11)
  np.testing.assert_array_equal(current.ema["w"], plain.ema["w"])
  np.testing.assert_array_equal(current.params["w"], plain.params["w"])
  assert (int(current.step), int(current.skipped), int(current.skipped_in_a_row)) == (22, 20, 0)


def test_no_two_leaves_share_a_buffer():
  """A step donates the state: a buffer can be given away once."""
  student = first(is_teacher=True)
  leaves = [student.params["w"], student.ema["w"], student.teacher["w"]]
  assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == 3
  assert first().teacher is None
