"""Discrete consistency distillation (Duo, Sahoo et al. 2025, section 4.2): fewer steps suffice.

A student starts as its teacher. Of two states on one way from the tokens to the noise, at times t
and s = t - gap, the student sees the later and learns what the teacher says of the earlier. After
each round the student's average is the new teacher and the gap is twice as long. The way is the
paper's deterministic one: under uniform noise the argmax of Gaussian states with one noise stays
the token until some time, and is then one other token. So is what `corrupt` draws with one key.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL
from dlm_jax.processes.base import Denoise, Process, free
from dlm_jax.training.state import TrainState


@dataclass(frozen=True)
class DistillationConfig:
  """Fields of `config.distillation`.

  Attributes:
    teacher: workdir of the run that is distilled, by its averaged weights; empty is none.
    gap: t - s in the first round.
    steps_per_round: after so many steps the gap is doubled.
  """

  teacher: str = ""
  gap: float = 1 / 512
  steps_per_round: int = 10_000

  def __post_init__(self) -> None:
    if not 0 < self.gap <= 1:
      raise UserError(f"distillation.gap must lie in (0, 1], got {self.gap}.")
    if self.steps_per_round < 1:
      raise UserError(
        f"distillation.steps_per_round must be at least 1, got {self.steps_per_round}."
      )


def check(config: DistillationConfig, process: Process) -> None:
  """Raises `UserError` for a process whose states with one key are not on one path."""
  if config.teacher and not (process.coupled and process.pattern == FULL):
    raise UserError(
      f"distillation is not defined for the process {type(process).__name__}: it needs one that "
      "noises each token by itself, such as duo, uniform or absorbing."
    )


def gap(config: DistillationConfig, step: Array) -> Array:
  """t - s at a step of training."""
  return jnp.minimum(config.gap * 2.0 ** (step // config.steps_per_round), 1.0)


def loss(
  process: Process,
  key: Array,
  student: Denoise,
  teacher: Denoise,
  x: Array,
  t: Array,
  gap: Array,
  given: Array | None = None,
) -> Array:
  """KL(teacher at s || student at t) of the prediction of each token, `[B, L]` nats."""
  s = jnp.maximum(t - gap, 0.0)
  z_t, z_s = process.corrupt(key, x, t, given), process.corrupt(key, x, s, given)
  target = jax.lax.stop_gradient(process.predict(teacher(z_s, s), z_s, s).log_probs)
  prediction = process.predict(student(z_t, t), z_t, t).log_probs
  possible = jnp.isfinite(target)
  ratio = jnp.where(possible, target, 0.0) - jnp.where(possible, prediction, 0.0)
  divergence = jnp.sum(jnp.exp(target) * ratio, axis=-1)
  return jnp.where(free(given, x.shape), divergence, 0.0)


def with_next_teacher(config: DistillationConfig, state: TrainState) -> TrainState:
  """The state after a step, with another teacher if that was the last step of a round."""
  ends = state.step % config.steps_per_round == 0
  teacher: Any = jax.tree.map(lambda new, old: jnp.where(ends, new, old), state.ema, state.teacher)
  return dataclasses.replace(state, teacher=teacher)
