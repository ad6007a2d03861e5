"""Discrete consistency distillation (Duo, Sahoo et al. 2025, section 4.2): fewer steps suffice.

A student starts as its teacher. Two states lie on one path from the tokens to the noise, at times t
and s = t - gap: the student sees the state at t and learns the teacher's prediction at s. After
each round the student's average becomes the teacher and the gap doubles. The path is the
deterministic one of the paper: under uniform noise the argmax of Gaussian states with one noise
stays the token until some time, and is one other token from then on. The states that `corrupt`
draws with one key at different times lie on such a path.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL
from dlm_jax.core.ranges import PositiveInt, Range
from dlm_jax.core.types import Params
from dlm_jax.processes.base import Denoise, Process, free
from dlm_jax.training.objective import Objective, Rows
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
  gap: Annotated[float, Range(above=0, at_most=1)] = 1 / 512
  steps_per_round: PositiveInt = 10_000


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


@dataclass(frozen=True, kw_only=True)
class Distillation(Objective):
  """The divergence of a student from the teacher in the train state.

  Attributes:
    config: the gap and the rounds.
  """

  config: DistillationConfig

  def __call__(
    self, params: Params, rows: Rows, state: TrainState, overflow_counter: Array | None = None
  ) -> Array:
    """The divergence of each position, nats `[B, L]`, 0 at given positions."""
    process, student = self.bind(params, rows, state, overflow_counter)
    undropped = {name: values for name, values in rows.items() if name != "dropout_keys"}
    _, teacher = self.bind(state.teacher, undropped, state)
    return divergence(process, student, teacher, rows, gap(self.config, state.step))

  def after_update(self, state: TrainState) -> TrainState:
    """The state with the average as its teacher, if the last step of a round was taken."""
    ends = state.step % self.config.steps_per_round == 0
    choose = lambda new, old: jnp.where(ends, new, old)  # noqa: E731
    return dataclasses.replace(state, teacher=jax.tree.map(choose, state.ema, state.teacher))


def of(objective: Objective, config: DistillationConfig) -> Objective:
  """The objective, or where the config names a teacher the divergence from it."""
  if not config.teacher:
    return objective
  return Distillation(
    process=objective.process, network=objective.network, head=objective.head, config=config
  )


def divergence(
  process: Process, student: Denoise, teacher: Denoise, rows: Rows, gap: Array
) -> Array:
  """KL(teacher at s = t - gap || student at t) of the prediction of each token, nats `[B, L]`."""
  key, x, t, given = rows["noise_keys"], rows["tokens"], rows["t"], rows.get("given")
  s = jnp.maximum(t - gap, 0.0)
  z_t, z_s = process.corrupt(key, x, t, given), process.corrupt(key, x, s, given)
  target = process.predict(teacher(z_s, s), z_s, s).log_probs
  prediction = process.predict(student(z_t, t), z_t, t).log_probs
  possible = jnp.isfinite(target)
  ratio = jnp.where(possible, target, 0.0) - jnp.where(possible, prediction, 0.0)
  divergence = jnp.sum(jnp.exp(target) * ratio, axis=-1)
  return jnp.where(free(given, x.shape), divergence, 0.0)
