"""A process made of another: every member and every facet is forwarded, none can be forgotten."""

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

from jax import Array

from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import Pattern
from dlm_jax.core.types import Params
from dlm_jax.processes import facets
from dlm_jax.processes.base import Denoise, Prediction, Process


@dataclass(frozen=True, kw_only=True)
class Wrapper(Process):
  """A process made of another: every member, and every facet, is that of `inner` unless overridden.

  Facets are decided by the instance: `isinstance(wrapper, facets.HasMask)` is true if `inner` has a
  mask. So a wrapper never loses what it does not name. One that cannot honour a facet refuses such
  an `inner` when it is built.

  Attributes:
    inner: the process that is wrapped.
  """

  inner: Process
  vocab_size: int = dataclasses.field(init=False, repr=False, compare=False)
  _declared: ClassVar[type | None] = None

  def __new__(cls, *, inner: Process, **fields: object) -> "Wrapper":
    del fields
    return object.__new__(_with_facets(cls._declared or cls, facets.of(inner)))

  def __post_init__(self) -> None:
    object.__setattr__(self, "vocab_size", self.inner.vocab_size)

  @property
  def num_embeddings(self) -> int:
    return self.inner.num_embeddings

  @property
  def interface(self) -> NetworkInterface:
    return self.inner.interface

  @property
  def pattern(self) -> Pattern:
    return self.inner.pattern

  @property
  def exact(self) -> bool:
    return self.inner.exact

  @property
  def num_evaluations(self) -> int:
    return self.inner.num_evaluations

  @property
  def coupled(self) -> bool:
    return self.inner.coupled

  def init(self, key: Array) -> Params:
    return self.inner.init(key)

  def bind(self, params: Params) -> Self:
    return dataclasses.replace(self, inner=self.inner.bind(params))

  def precondition(self, denoise: Denoise) -> Denoise:
    return self.inner.precondition(denoise)

  def at_step(self, step: Array) -> Self:
    return dataclasses.replace(self, inner=self.inner.at_step(step))

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    return self.inner.prior(key, shape)

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    return self.inner.corrupt(key, x, t, given)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    return self.inner.predict(output, z, t)

  def nelbo(
    self, key: Array, denoise: Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    return self.inner.nelbo(key, denoise, x, t, given)

  def constants(self) -> float:
    return self.inner.constants()

  def loss(
    self, key: Array, denoise: Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    return self.inner.loss(key, denoise, x, t, given)

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    return self.inner.reverse(key, prediction, z, t, s, given)


@cache
def _with_facets(cls: type, wanted: tuple[type, ...]) -> type:
  """The subclass of the wrapper `cls` that forwards what the facets `wanted` consist of."""
  names = {name for facet in wanted for name in facets.members(facet)}
  own = {field.name for field in dataclasses.fields(cls)} | set(dir(cls))
  forwarded = {name: _forward(name) for name in sorted(names - own)}
  return type(cls.__name__, (cls,), {"__module__": cls.__module__, "_declared": cls, **forwarded})


def _forward(name: str) -> property:
  return property(lambda self: getattr(self.inner, name))
