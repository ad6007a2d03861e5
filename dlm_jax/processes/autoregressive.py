"""Autoregression: each token is predicted from those before it, on the backbone of all the others.

The control of every comparison. Seen as a noise process (Austin et al. 2021, section 4.1) the row
is masked from its right end, in order; one network evaluation with a causal mask gives the terms of
the chain rule -log p(x) = -sum_i log p(x_i | x_<i) at once. So the likelihood is exact, no bound.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.patterns import Causal
from dlm_jax.processes import base
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import Schedule


@dataclass(frozen=True)
class Autoregressive:
  """The process. Build it with `make`.

  The network is always told the time 0: it sees clean tokens alone.

  Attributes:
    vocab_size: V, the columns of the network's output.
    schedule: alpha(t), the share of the row that is known at time t, from its left end.
  """

  vocab_size: int
  schedule: Schedule

  @property
  def mask_id(self) -> int:
    """Stands for what is not yet known, and before the first token."""
    return self.vocab_size

  @property
  def num_embeddings(self) -> int:
    return self.vocab_size + 1

  @property
  def pattern(self) -> Causal:
    return Causal(begin=self.mask_id)

  @property
  def exact(self) -> bool:
    """The likelihood is exact: `nelbo` draws neither times nor noise."""
    return True

  def known(self, t: Array, length: int) -> Array:
    """How many tokens of a row of `length` are known at time t."""
    # Rounded, because 1 - k / L may be a hair less than (L - k) / L.
    return jnp.round(self.schedule.alpha(t) * length).astype(jnp.int32)

  def prior(self, key: Array, shape: tuple[int, int]) -> Array:
    del key  # no token is known
    return jnp.full(shape, self.mask_id, jnp.int32)

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    del key  # the noise is no chance: the right end is masked
    masked = jnp.arange(x.shape[1]) >= self.known(base.per_position(t), x.shape[1])
    if given is not None:
      masked &= ~given
    return jnp.where(masked, self.mask_id, x)

  def log_probs(self, output: Array, z: Array, t: Array) -> Array:
    """log p(x_i | z_<i), whatever z_i is."""
    del z, t
    return jax.nn.log_softmax(output.astype(jnp.float32))

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """-log p(x_i | x_<i), the same at all times and exact.

    The tokens of positions `given` are conditions as far as they lie to the left.
    """
    del key
    where = jnp.ones(x.shape, bool) if given is None else ~given
    return base.cross_entropy(self, denoise, x, jnp.zeros_like(t), x, where)

  def constants(self) -> float:
    return 0.0

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    return self.nelbo(key, denoise, x, t, given)

  def reverse(
    self, key: Array, output: Any, z: Array, t: Array, s: Array, given: Array | None = None
  ) -> Array:
    """Draws the tokens that are known at s and not at t.

    Exact if that is one token, because `output` is computed without those to its left otherwise.
    """
    reveal = jnp.arange(z.shape[1]) < self.known(base.per_position(s), z.shape[1])
    reveal &= z == self.mask_id
    if given is not None:
      reveal &= ~given
    return jnp.where(reveal, base.row_categorical(key, self.log_probs(output, z, t)), z)


def make(*, vocab_size: int, **fields: Any) -> Autoregressive:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default).

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  return resolve.build(Autoregressive, {"vocab_size": vocab_size, **fields})
