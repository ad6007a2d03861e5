"""Ancestral sampling: z_s ~ p(z_s | z_t), step by step along a grid of times.

Each step draws its positions independently, which is exact as the steps become many.
"""

from jax import Array

from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, grids, sequential, walking


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
  """Draws `shape` (B, L) tokens.

  Args:
    key: one key, or `[B]` keys; row i depends on its own key alone.
    process: any process. A continuous one is read by one more evaluation at the end.
    denoise: `denoise(z, t) -> output`.
    shape: (B, L).
    steps: steps of the grid, and network evaluations unless `cache` saves some.
    tokens: int32 `[B, L]`, read where `given`.
    given: bool `[B, L]`, the prompt or the known part of an infilling: never changed.
    grid: `uniform` or `cosine`, see `grids`.
    temperature: of the prediction; 0 takes the most likely token.
    top_p: nucleus filtering of the prediction; 1 keeps all of it.
    cache: do not run the network again while no position has changed, nor when all are known: at
      most L evaluations of one sequence. Right for a network that takes no notice of time, and
      wrong for any other.
    trajectory: keep the state after every step as tokens, `[steps + 1, B, L]`.

  Raises:
    UserError: an argument is out of range, or the grid is unknown.
  """
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  sequential.require(process, "ancestral")

  def transition(key, prediction, z, t, s, memory):
    return process.reverse(key, prediction, z, t, s, given), memory

  return walking.walk(
    key,
    process,
    denoise,
    shape,
    grids.times(grid, steps),
    transition,
    tokens=tokens,
    given=given,
    temperature=temperature,
    top_p=top_p,
    cache=cache,
    trajectory=trajectory,
  )
