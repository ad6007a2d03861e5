import jax
import numpy as np
import pytest

from dlm_jax.processes import absorbing
from dlm_jax.samplers import ancestral
from tests import toy

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
  shape = (rows, JOINT.length)
  sample = jax.jit(
    lambda key: ancestral.sample(key, PROCESS, denoise, shape, steps=STEPS, **settings)
  )
  result = jax.device_get(sample(jax.random.key(0)))
  jax.effects_barrier()
  assert result.nfe == len(runs)
  return result


@pytest.mark.parametrize("rows, most", [(1, JOINT.length), (6, 6 * JOINT.length)])
def test_the_cache_changes_the_cost_alone(rows, most):
  plain, cached = run(rows), run(rows, cache=True)
  np.testing.assert_array_equal(cached.tokens, plain.tokens)
  assert plain.nfe == STEPS
  assert 1 <= cached.nfe <= most


def test_the_cache_holds_with_a_filtered_prediction():
  settings = {"temperature": 0.7, "top_p": 0.8}
  np.testing.assert_array_equal(run(4, cache=True, **settings).tokens, run(4, **settings).tokens)


def test_the_network_is_told_the_time_of_the_grid():
  times = []

  def denoise(z, t):
    jax.debug.callback(lambda t: times.append(float(t[0])), t, ordered=True)
    return toy.absorbing_denoiser(JOINT)(z, t)

  shape = (1, JOINT.length)
  jax.jit(lambda key: ancestral.sample(key, PROCESS, denoise, shape, steps=4))(jax.random.key(0))
  jax.effects_barrier()
  np.testing.assert_allclose(times, [1, 0.75, 0.5, 0.25])
