"""A process made of another: every member and every facet is forwarded, none can be forgotten."""

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

from jax import Array

from dlm_jax.core.types import Params
from dlm_jax.processes import facets
from dlm_jax.processes.base import Process


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
    return object.__new__(_forwarding(cls._declared or cls, facets.of(inner)))

  def __post_init__(self) -> None:
    object.__setattr__(self, "vocab_size", self.inner.vocab_size)

  def bind(self, params: Params) -> Self:
    return dataclasses.replace(self, inner=self.inner.bind(params))

  def at_step(self, step: Array) -> Self:
    return dataclasses.replace(self, inner=self.inner.at_step(step))


@cache
def _forwarding(cls: type[Wrapper], of_inner: tuple[type, ...]) -> type[Wrapper]:
  """The subclass of `cls` that forwards what `cls` does not define: of `Process`, and of facets."""
  contract = [name for name in vars(Process) if not name.startswith("_")]
  inherited = {name for name in contract if getattr(cls, name) is getattr(Process, name)}
  of_facets = {name for facet in of_inner for name in facets.members(facet)}
  own = {field.name for field in dataclasses.fields(cls)} | set(dir(cls))
  forwarded = {name: _forward(name) for name in sorted(inherited | (of_facets - own))}
  return type(cls.__name__, (cls,), {"__module__": cls.__module__, "_declared": cls, **forwarded})


def _forward(name: str) -> property:
  return property(lambda self: getattr(self.inner, name))
