"""Which evaluations ancestral sampling asks for, and which it reuses."""

import jax
import numpy as np
import pytest

from dlm_jax.processes import absorbing
from tests import toy
from tests.samplers import drawing

JOINT = toy.joint()
PROCESS = absorbing.make(vocab_size=JOINT.vocab_size)
STEPS = 40


def counted(denoise):
  """`denoise`, and a list that grows by one each time it is really run."""
  runs = []

  def counting(z, t):
    jax.debug.callback(lambda: runs.append(1))
    return denoise(z, t)

  return counting, runs


def run(rows, **settings):
  denoise, runs = counted(toy.absorbing_denoiser(JOINT))
  result = drawing.draw(
    drawing.make("ancestral"), PROCESS, denoise, (rows, JOINT.length), steps=STEPS, **settings
  )
  jax.effects_barrier()
  assert result.num_evaluations == len(runs)
  return result


@pytest.mark.parametrize("rows, most", [(1, JOINT.length), (6, 6 * JOINT.length)])
def test_reuse_changes_the_cost_alone(rows, most):
  plain, reusing = run(rows), run(rows, reuse=True)
  np.testing.assert_array_equal(reusing.tokens, plain.tokens)
  assert plain.num_evaluations == STEPS
  assert 1 <= reusing.num_evaluations <= most


def test_reuse_holds_with_a_filtered_prediction():
  settings = {"temperature": 0.7, "top_p": 0.8}
  np.testing.assert_array_equal(run(4, reuse=True, **settings).tokens, run(4, **settings).tokens)


def test_the_network_receives_the_time_of_the_grid():
  times = []

  def denoise(z, t):
    jax.debug.callback(lambda t: times.append(float(t[0])), t, ordered=True)
    return toy.absorbing_denoiser(JOINT)(z, t)

  drawing.draw(drawing.make("ancestral"), PROCESS, denoise, (1, JOINT.length), steps=4)
  jax.effects_barrier()
  np.testing.assert_allclose(times, [1, 0.75, 0.5, 0.25])
