"""The train state: its average, its counts of skipped steps, its buffers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlm_jax.core.finite import all_finite
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


def test_an_average_without_warm_up_has_its_decay_from_the_first_step():
  gradients, ok = {"w": jnp.ones(1)}, jnp.asarray(True)
  after = state.apply_gradients(first(), gradients, ok, OPTIMIZER, 0.99, ema_warmup=False)
  assert float(after.ema["w"][0]) == pytest.approx(-0.01)


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


@pytest.mark.parametrize(
  ("optimizer", "gradient", "fields", "broken"),
  [
    (optax.sgd(1e30), 1e30, {}, "params"),
    # The square of the gradient is beyond float32, its update is 0.
    (optax.adam(1e-3), 1e30, {}, "opt_state"),
    # The new parameter is finite, its distance from the average is not.
    (optax.sgd(1.0), -3e38, {"ema": {"w": jnp.full(1, -3e38)}}, "ema"),
  ],
  ids=["params", "opt_state", "ema"],
)
def test_a_finite_gradient_whose_result_is_not_finite_keeps_everything(
  optimizer, gradient, fields, broken, monkeypatch
):
  before = dataclasses.replace(state.init({"w": jnp.zeros(1)}, optimizer), **fields)
  gradients = {"w": jnp.asarray([gradient], jnp.float32)}
  ok, parts = jnp.asarray(True), ("params", "ema", "opt_state")
  after = state.apply_gradients(before, gradients, ok, optimizer, 0.9)
  assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (1, 1, 1)
  for part in parts:
    jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(before, part))
  # Without the guard it is this part that would not be finite.
  monkeypatch.setattr(state, "all_finite", lambda tree: jnp.asarray(True))
  after = state.apply_gradients(before, gradients, ok, optimizer, 0.9)
  finite = {part: all_finite(getattr(after, part)) for part in parts}
  assert not finite[broken] and (broken == "params" or finite["params"])


def test_no_two_leaves_share_a_buffer():
  """A step donates the state: a buffer can be given away once."""
  student = first(is_teacher=True)
  leaves = [student.params["w"], student.ema["w"], student.teacher["w"]]
  assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == 3
  assert first().teacher is None
