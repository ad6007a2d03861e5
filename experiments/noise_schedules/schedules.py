"""All noise schedules as one: their index may be traced, so that one program serves them all."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.schedules import alpha_schedules, gamma_schedules

PROCESSES = ("absorbing", "uniform", "gaussian")
# Whose weights every schedule is evaluated at, and under which every run is.
REFERENCE = "linear"
NAMES = tuple(alpha_schedules.classes())
# Those of Gaussian noise that are not learned, all between the same two ends: Plaid's first ones.
SHAPES = tuple(
  name
  for name, cls in gamma_schedules.classes().items()
  if not issubclass(cls, gamma_schedules.LearnedSchedule)
)
ENDS = (-3.0, 6.0)


@dataclasses.dataclass(frozen=True)
class AnySchedule(alpha_schedules.Schedule):
  """The schedule `NAMES[index]`. The index may be traced, so that one program serves them all."""

  index: Any

  def alpha(self, t: Array) -> Array:
    return self._of("alpha", t)

  def alpha_derivative(self, t: Array) -> Array:
    return self._of("alpha_derivative", t)

  def inverse(self, alpha: Array) -> Array:
    return self._of("inverse", alpha)

  def one_minus_alpha(self, t: Array) -> Array:
    return self._of("one_minus_alpha", t)

  def _of(self, method: str, value: Array) -> Array:
    members = [getattr(alpha_schedules.make({"name": name}), method) for name in NAMES]
    return jax.lax.switch(self.index, members, value)


@dataclasses.dataclass(frozen=True)
class AnyShape(gamma_schedules.GammaSchedule):
  """The schedule `SHAPES[index]`, stretched so that it runs between `ENDS`."""

  index: Any

  def gamma(self, t: Array) -> Array:
    shapes = [functools.partial(_shape, gamma_schedules.make({"name": name})) for name in SHAPES]
    return ENDS[0] + (ENDS[1] - ENDS[0]) * jax.lax.switch(self.index, shapes, t)


def _shape(schedule: gamma_schedules.GammaSchedule, t: Array) -> Array:
  """gamma of the schedule, from 0 to 1."""
  first, last = (schedule.gamma(jnp.float32(end)) for end in (0, 1))
  return (schedule.gamma(t) - first) / (last - first)


def names(process: str) -> tuple[str, ...]:
  """The schedules of a process."""
  return SHAPES if process == "gaussian" else NAMES
