"""Uniform diffusion: a token is kept with probability alpha(t), else replaced by any token.

D3PM uniform (Austin et al. 2021), UDLM (Schiff et al. 2024), Duo (Sahoo et al. 2025). A token may
change at any time and more than once, so that a mistake can be undone. Nothing in z says which
tokens are noise: give the network the time (`network.time_conditioned`). It takes the tokens of a
prompt, too, for ones that may be noise, although they are never changed.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.entries import at_token
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.processes import base
from dlm_jax.processes.parts.mixture import Mixture, log_ratio
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import TINY


@dataclass(frozen=True, kw_only=True)
class Uniform(Mixture):
  """The process; its maths is that of `Mixture` without a mask. Build it with `make`.

  Attributes:
    timesteps: None for the continuous-time bound, T for the bound of a T-step reverse process, that
      of D3PM.
  """

  timesteps: PositiveInt | None = None

  @property
  def uniform_fraction(self) -> float:
    return 1.0

  def time_of_noised(self, noised: Array) -> Array:
    """The time at which the fraction `noised` of the tokens is replaced."""
    return self.time_of_alpha(1.0 - noised)

  def time_of_alpha(self, alpha: Array) -> Array:
    """The time at which the fraction `alpha` of the tokens is kept."""
    first, last = self._ends()
    return self.schedule.inverse(last + alpha * (first - last))

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """That of `Mixture`, or T KL(q(z_s | z_t, x) || q(z_s | z_t, x := x-hat)), t being the grid
    point above the time that is given and s the one before (D3PM, eq. 1)."""
    if self.timesteps is None:
      return super().nelbo(key, denoise, x, t, given)
    step = jnp.clip(jnp.ceil(t * self.timesteps), 1, self.timesteps)
    t, s = step / self.timesteps, (step - 1) / self.timesteps
    z = self.corrupt(key, x, t, given)
    at_t, at_s = (self.level(base.per_position(time)) for time in (t, s))
    alphas = (jnp.maximum(level.alpha, TINY) for level in (at_t, at_s))
    floors = (level.noise / self.vocab_size for level in (at_t, at_s))
    shared = tuple(jnp.broadcast_to(a, x.shape) for a in (*alphas, *floors))
    where = base.free(given, x.shape)
    divergence = base.score_positions(denoise, z, t, self._step_divergence, (x, z, *shared), where)
    return self.timesteps * divergence

  def _step_divergence(
    self,
    output: Array,
    x: Array,
    z: Array,
    alpha_t: Array,
    alpha_s: Array,
    floor_t: Array,
    floor_s: Array,
  ) -> Array:
    """The KL of one step from t to s, `[...]`; `floor` is what noise adds to every token.

    q(z_s = y | z_t, x) is (kept 1[y = z] + replaced) q(y | x) / q(z | x), with q(y | x) at s and
    q(z | x) at t. Of q(y | x) / q(y | x-hat) the cases y = x, y = z and all others are summed.
    """
    log_p = jax.nn.log_softmax(output.astype(jnp.float32))
    log_p_x, log_p_z = at_token(log_p, x), at_token(log_p, z)
    kept = alpha_t / alpha_s
    replaced = jnp.maximum(floor_t - kept * floor_s, 0.0)
    at_z = jnp.where(z == x, alpha_t, 0.0) + floor_t  # q(z | x)
    gains = jnp.log1p((alpha_s / jnp.maximum(floor_s, TINY))[..., None] * jnp.exp(log_p))
    is_x = jnp.arange(self.vocab_size) == x[..., None]  # a comparison inside the sum, never stored
    others = replaced * jnp.sum(jnp.where(is_x, 0.0, gains), axis=-1)
    others += jnp.where(z == x, 0.0, kept * at_token(gains, z))
    from_x = (jnp.where(z == x, kept, 0.0) + replaced) * (alpha_s + floor_s)
    lost = log_ratio(-alpha_s * jnp.expm1(log_p_x), alpha_s, floor_s, log_p_x)
    same = log_ratio(-alpha_t * jnp.expm1(log_p_x), alpha_t, floor_t, log_p_x)
    evidence = jnp.where(z == x, same, jnp.log1p(alpha_t * jnp.exp(log_p_z) / floor_t))
    return evidence - (floor_s * others + from_x * lost) / at_z


def make(*, vocab_size: int, **fields: object) -> Uniform:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default), and the other
      attributes of `Uniform`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  return resolve.build(Uniform, {"vocab_size": vocab_size, **fields})
