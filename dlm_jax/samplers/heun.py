"""Heun's method on the probability flow (EDM, Karras et al. 2022, algorithm 1).

Each step goes to s as DDIM does, predicts again there, and goes from t with the mean of both
predictions: second order in y = z / sigma against sqrt(SNR).
"""

from jax import Array

from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, flow


def sample(
  key: Array,
  process: Process,
  denoise: Denoise,
  shape: tuple[int, int],
  *,
  steps: int,
  tokens: Array | None = None,
  given: Array | None = None,
  grid: str = "uniform",
  temperature: float = 1.0,
  top_p: float = 1.0,
  cache: bool = False,
  trajectory: bool = False,
) -> base.SampleResult:
  """Draws `shape` (B, L) tokens; arguments as for `ancestral.sample`, except

  Args:
    process: a continuous one.
    steps: of the grid; the network is evaluated twice in each.
    cache: changes nothing: the state never stays the same.

  Raises:
    UserError: an argument is out of range, or the process is not continuous.
  """
  del cache
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  base.require_continuous(process, "heun")
  walk = flow.Walk(process, denoise, given, temperature, top_p)

  def step(key: Array, z: Array, condition: flow.Condition, t: Array, s: Array) -> flow.Moved:
    del key
    first, condition = walk.predict(z, t, condition)
    second, condition = walk.predict(walk.towards(first, z, t, s), s, condition)
    return walk.towards((first + second) / 2, z, t, s), condition, 2

  return walk.run(step, key, shape, tokens, steps=steps, grid=grid, trajectory=trajectory)
