"""GIDD (von Rutte et al. 2025): masked diffusion with random tokens in the middle of the time.

With a the signal that the schedule leaves, 1 - t where it is linear, and b = 2 p_u / (1 - p_u)

  q(z_t | x) = (a x + c uniform + (1 - a) mask) / (1 + c),    c = b sqrt(a (1 - a))

(section 4.1 and appendix B, with gamma = 1). Random tokens are most where a = 1/2, p_u of all
tokens; at the end there are masks alone. They teach the network that what it sees may be wrong, so
that it can correct itself. In `hybrid` the share of random tokens in the noise is one number.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Fraction, Positive
from dlm_jax.processes import base
from dlm_jax.processes.parts.mixture import Level, Mixture
from dlm_jax.processes.parts.outside_mask import OutsideMask
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import TINY


@dataclass(frozen=True, kw_only=True)
class Gidd(OutsideMask, Mixture):
  """The process; its maths is that of `Mixture`. Build it with `make`.

  Attributes:
    p_u: the share of random tokens in the middle, in [0, 1); 0 is masked diffusion.
    dynamic_weights: whether `loss` weighs by the bound's weight over the speed of the log-SNR,
      log(a / (1 - a)), so that masks weigh 2, random tokens 1 and true ones next to nothing
      (section 4.3); otherwise it is the bound.
    weight_cap: the largest dynamic weight.
  """

  p_u: Fraction = 0.1
  dynamic_weights: bool = False
  weight_cap: Positive = 2.0

  @property
  def coupled(self) -> bool:
    """No: a random token becomes a mask later on."""
    return False

  def level(self, t: Array) -> Level:
    kept, lost, rate = jnp.maximum(self.signal(t), TINY), self.lost(t), self.rate(t)
    b = 2.0 * self.p_u / (1.0 - self.p_u)
    bump = b * jnp.sqrt(kept * lost)
    # c / (c + 1 - a) and its like, divided by sqrt(1 - a), which is 0 at t = 0.
    uniform, masked = b * jnp.sqrt(kept), jnp.sqrt(jnp.maximum(lost, TINY))
    return Level(
      alpha=kept / (1.0 + bump),
      noise=(bump + lost) / (1.0 + bump),
      p_u=uniform / (uniform + masked),
      uniform_rate=rate * uniform / (2.0 * masked * (1.0 + bump)),
      mask_rate=rate / (1.0 + bump),
    )

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    if not self.dynamic_weights:
      return self.nelbo(key, denoise, x, t, given)
    z, t_BL = self.corrupt(key, x, t, given), base.per_position(t)
    level = self.level(t_BL)
    weight = self.bound_weight(x, z, level) * (
      2.0 * self.lost(t_BL) / jnp.maximum(self.rate(t_BL), TINY)
    )
    divergence = self.divergence(denoise, (z, t), x, z, level, given)
    return jnp.minimum(weight, self.weight_cap) * divergence


def make(*, vocab_size: int, **fields: object) -> Gidd:
  """Builds the process from its config.

  Args:
    vocab_size: V; the mask is V, outside the data.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default), and the other
      attributes of `Gidd`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  return resolve.build(Gidd, {"vocab_size": vocab_size, **fields})
