"""Autoregression: each token is predicted from those before it, on the backbone of all the others.

The control of every comparison. Seen as a noise process (Austin et al. 2021, section 4.1) the row
is masked from its right end, in order; one network evaluation with a causal mask gives the terms of
the chain rule -log p(x) = -sum_i log p(x_i | x_<i) at once. So the likelihood is exact, no bound.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Causal
from dlm_jax.core.ranges import NonNegativeInt
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.parts.outside_mask import OutsideMask
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Autoregressive(OutsideMask):
  """The process. Build it with `make`.

  The network sees clean tokens alone, so that its time is always 0. The mask stands for a token
  that is not yet revealed, and before the first token unless that is `begin_id`.

  Attributes:
    vocab_size: V, the columns of the network's output.
    schedule: alpha(t), the share of the row that is revealed at time t, from its left end.
    begin_id: the token before the first one, of 0..V-1; None is the mask. With it the network never
      reads the mask and has no embedding of it, as the models of others.
  """

  schedule: Schedule
  begin_id: NonNegativeInt | None = None

  def __post_init__(self) -> None:
    if self.begin_id is not None and self.begin_id >= self.vocab_size:
      raise UserError(
        f"process.begin_id is {self.begin_id}, but must lie in 0..{self.vocab_size - 1}."
      )

  @property
  def num_embeddings(self) -> int:
    return super().num_embeddings if self.begin_id is None else self.vocab_size

  @property
  def pattern(self) -> Causal:
    if self.begin_id is None:
      return Causal(begin=self.mask_id)
    return Causal(begin=self.begin_id, unrevealed=self.mask_id)

  @property
  def exact(self) -> bool:
    """The likelihood is exact: `nelbo` draws neither times nor noise."""
    return True

  def num_revealed(self, t: Array, length: int) -> Array:
    """How many tokens of a row of `length` are revealed at time t."""
    # Rounded, because 1 - k / L may be a hair less than (L - k) / L.
    return jnp.round(self.schedule.alpha(t) * length).astype(jnp.int32)

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    del key  # no token is revealed
    return jnp.full(shape, self.mask_id, jnp.int32)

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    del key  # nothing is random: the right end is masked
    masked = jnp.arange(x.shape[1]) >= self.num_revealed(base.per_position(t), x.shape[1])
    return jnp.where(masked & base.free(given, x.shape), self.mask_id, x)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    """log p(x_i | z_<i), whatever z_i is."""
    del z, t
    return Prediction(jax.nn.log_softmax(output.astype(jnp.float32)))

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """-log p(x_i | x_<i), the same at all times and exact.

    The tokens of positions `given` are conditions as far as they lie to the left.
    """
    del key
    where = base.free(given, x.shape)
    return base.score_positions(denoise, x, jnp.zeros_like(t), base.nll(), (x,), where)

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """Draws the tokens that are revealed at s and not at t.

    Exact if that is one token: a `prediction` of more is made without those to their left.
    """
    reveal = jnp.arange(z.shape[1]) < self.num_revealed(base.per_position(s), z.shape[1])
    reveal &= (z == self.mask_id) & base.free(given, z.shape)
    return jnp.where(reveal, draws.row_categorical(key, prediction.log_probs), z)


def make(*, vocab_size: int, **fields: object) -> Autoregressive:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default), and `begin_id`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  return resolve.build(Autoregressive, {"vocab_size": vocab_size, **fields})
