"""Distillation of a diffusion model into one that needs fewer steps, in rounds.

A student starts as its teacher, and what it learns at a time t is what the teacher knows at an
earlier time s = t - gap. After each round the student becomes the teacher and the gap doubles. The
loss is KL(student || teacher), which seeks modes, as in the code of both papers.

Under uniform noise (discrete consistency distillation; Duo, Sahoo et al. 2025, section 4.2) the
student sees the state at t and the teacher that at s on one path from the tokens to the noise. The
path is the deterministic one of the paper: the argmax of Gaussian states with one noise stays the
token until some time, and is one other token from then on. The states that `corrupt` draws with one
key at different times lie on such a path, with the same law.

Under masks (self-distillation through time; SDTT, Deschenaux and Gulcehre 2025, section 3) the
teacher goes from t to s in two steps, and of each masked token it tells what it predicts in the
step that reveals the token, or in the last one.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL
from dlm_jax.core.ranges import LogNoise, PositiveInt, Range
from dlm_jax.core.types import Params
from dlm_jax.processes import draws
from dlm_jax.processes.base import Denoise, Process, free
from dlm_jax.processes.duo import Duo
from dlm_jax.processes.facets import RevealsOnce
from dlm_jax.training.objective import Objective, Rows
from dlm_jax.training.state import TrainState

# The teacher's steps from t to s under masks.
TEACHER_STEPS = 2


@dataclass(frozen=True)
class DistillationConfig:
  """Fields of `config.distillation`.

  Attributes:
    teacher: workdir of the run that is distilled, by its averaged weights; empty is none.
    gap: t - s in the first round.
    steps_per_round: after so many steps the gap is doubled.
    gammas: of Duo: times are those at which its Gaussian noise is gamma, which is linear in t
      between these two; None takes times as they are.
  """

  teacher: str = ""
  gap: Annotated[float, Range(above=0, at_most=1)] = 1 / 512
  steps_per_round: PositiveInt = 10_000
  gammas: tuple[LogNoise, LogNoise] | None = None


def check(config: DistillationConfig, process: Process) -> None:
  """Raises `UserError` for a process that cannot be distilled, or not as the config says."""
  if not config.teacher:
    return
  name = type(process).__name__
  if not (process.coupled or isinstance(process, RevealsOnce)) or process.pattern != FULL:
    raise UserError(
      f"distillation is not defined for the process {name}: it needs one that noises each token by "
      "itself, such as duo, uniform or absorbing."
    )
  if config.gammas is not None and not isinstance(process, Duo):
    raise UserError(f"distillation.gammas is of duo, and the process is {name}: set it to none.")


def teacher_evaluations(config: DistillationConfig, process: Process) -> int:
  """Evaluations of the teacher in a step of training."""
  if not config.teacher:
    return 0
  return TEACHER_STEPS if isinstance(process, RevealsOnce) else 1


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

  def __call__(self, params: Params, rows: Rows, state: TrainState) -> Array:
    """The divergence of each position, nats `[B, L]`, 0 at given positions."""
    process, student = self.bind(params, rows, state)
    undropped = {name: values for name, values in rows.items() if name != "dropout_keys"}
    _, teacher = self.bind(state.teacher, undropped, state)
    t = jnp.minimum(rows["t"] + gap(self.config, state.step), 1.0)
    s = jnp.maximum(t - gap(self.config, state.step), 0.0)
    return divergence(process, (student, teacher), rows, self.times(process, t, s))

  def times(self, process: Process, t: Array, s: Array) -> tuple[Array, Array]:
    """The times of the process that `t` and `s` stand for."""
    if self.config.gammas is None:
      return t, s
    assert isinstance(process, Duo)
    first, last = self.config.gammas
    at = [process.time_of_gamma(first + (last - first) * time) for time in (t, s)]
    return at[0], at[1]

  def after_update(self, state: TrainState) -> TrainState:
    """The state with the student as its teacher, if the last step of a round was taken."""
    ends = state.step % self.config.steps_per_round == 0
    choose = lambda new, old: jnp.where(ends, new, old)  # noqa: E731
    return dataclasses.replace(state, teacher=jax.tree.map(choose, state.params, state.teacher))


def of(objective: Objective, config: DistillationConfig) -> Objective:
  """The objective, or where the config names a teacher the divergence from it."""
  if not config.teacher:
    return objective
  return Distillation(
    process=objective.process, network=objective.network, head=objective.head, config=config
  )


def divergence(
  process: Process, pair: tuple[Denoise, Denoise], rows: Rows, times: tuple[Array, Array]
) -> Array:
  """KL(student at t || teacher) of the prediction of each token, nats `[B, L]`.

  Args:
    process: the noise.
    pair: the student and the teacher.
    rows: the batch and its keys.
    times: t and s, `[B]` each.
  """
  (student, teacher), (t, s) = pair, times
  x, given = rows["tokens"], rows.get("given")
  noise_keys, step_keys = draws.split_rows(rows["noise_keys"], len(x), 2)
  z, where = process.corrupt(noise_keys, x, t, given), free(given, x.shape)
  if isinstance(process, RevealsOnce):
    target = in_two_steps(process, teacher, step_keys, z, (t, s), given)
    where &= z == process.mask_id
  else:
    earlier = process.corrupt(noise_keys, x, s, given)
    target = process.predict(teacher(earlier, s), earlier, s).log_probs
  log_p = process.predict(student(z, t), z, t).log_probs
  possible = jnp.isfinite(log_p) & jnp.isfinite(target)  # a mask among the tokens is never one
  log_p, target = jnp.where(possible, log_p, 0.0), jnp.where(possible, target, 0.0)
  terms = jnp.where(possible, jnp.exp(log_p) * (log_p - target), 0.0)
  return jnp.where(where, jnp.sum(terms, axis=-1), 0.0)


def in_two_steps(
  process: Process,
  teacher: Denoise,
  keys: Array,
  z: Array,
  times: tuple[Array, Array],
  given: Array | None,
) -> Array:
  """The log-probabilities `[B, L, V]` that the teacher gives on its way from t to s, `times`.

  Those of its first step where that reveals a token, else of its second.
  """
  assert isinstance(process, RevealsOnce)
  t, s = times
  between = (t + s) / 2
  first = process.predict(teacher(z, t), z, t)
  later = process.reverse(keys, first, z, t, between, given)
  second = process.predict(teacher(later, between), later, between)
  stays = later == process.mask_id
  return jnp.where(stays[..., None], second.log_probs, first.log_probs)
