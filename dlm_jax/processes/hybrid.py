"""Hybrid diffusion: noise is the mask, or with probability p_u any token (GIDD, von Rutte 2025).

Between absorbing (p_u = 0) and uniform noise (p_u = 1): the mask says where something is missing,
and the random tokens teach the network that what it sees may be wrong, so that it can correct
itself. p_u does not change, so that the prior is the same mixture. In `gidd` the random tokens come
and go in the middle of the time.
"""

from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Probability
from dlm_jax.processes.parts.mixture import Mixture
from dlm_jax.processes.parts.outside_mask import OutsideMask
from dlm_jax.schedules import alpha_schedules


@dataclass(frozen=True, kw_only=True)
class Hybrid(OutsideMask, Mixture):
  """The process; its maths is that of `Mixture`. Build it with `make`.

  Attributes:
    p_u: the share of uniform tokens in the noise, in [0, 1].
  """

  p_u: Probability = 0.1

  @property
  def uniform_fraction(self) -> float:
    return self.p_u


def make(*, vocab_size: int, **fields: object) -> Hybrid:
  """Builds the process from its config.

  Args:
    vocab_size: V; the mask is V, outside the data.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default), and `p_u`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  return resolve.build(Hybrid, {"vocab_size": vocab_size, **fields})
