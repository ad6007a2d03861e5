"""The network of a continuous process with its input and output brought into form."""

from dataclasses import dataclass
from typing import Protocol

import jax.numpy as jnp
from jax import Array

from dlm_jax.core.types import PyTree
from dlm_jax.processes import base


class PreconditionsNetwork(Protocol):
  """What a process says of the network around which it stands."""

  @property
  def size(self) -> float:
    """The root mean square of the numbers in an embedding."""

  def seen(self, z: Array, t: Array) -> tuple[Array, Array]:
    """What the network receives as state and as time."""

  def output(self, output: Array, z: Array, t: Array) -> Array:
    """What the process reads, from the network's output `[B, L, columns]` at (z, t)."""


def precondition(process: PreconditionsNetwork, denoise: base.Denoise) -> base.Denoise:
  """`denoise` as `process` reads it; it scores positions if `denoise` does."""
  cls = ScoringPreconditioned if isinstance(denoise, base.ScoresPositions) else Preconditioned
  return cls(process, denoise)


@dataclass(frozen=True)
class Preconditioned:
  """A denoiser as its process reads it."""

  process: PreconditionsNetwork
  denoise: base.Denoise

  def __call__(self, z: Array, t: Array, /, **conditioning: Array | None) -> Array:
    output = self.denoise(*self.process.seen(z, t), **self.scaled(**conditioning))
    return self.process.output(output, z, t)

  def scaled(self, self_condition: Array | None = None) -> dict[str, Array | None]:
    """The conditioning, an earlier prediction brought to unit size."""
    scaled = None if self_condition is None else self_condition / self.process.size
    return {"self_condition": scaled}


class ScoringPreconditioned(Preconditioned):
  """The same of a denoiser that scores positions."""

  def score(
    self,
    z: Array,
    t: Array,
    score: base.Score,
    operands: tuple[Array, ...],
    where: Array,
    /,
    **conditioning: Array | None,
  ) -> PyTree:
    """Equal to `base.score_positions`."""
    assert isinstance(self.denoise, base.ScoresPositions)

    def of_output(output: Array, z: Array, t: Array, *operands: Array) -> PyTree:
      return score(self.process.output(output, z, t), *operands)

    operands = (z, jnp.broadcast_to(base.per_position(t), where.shape), *operands)
    seen, scaled = self.process.seen(z, t), self.scaled(**conditioning)
    return self.denoise.score(*seen, of_output, operands, where, **scaled)
