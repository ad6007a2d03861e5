"""Gaussian noise on token embeddings: z = alpha e(x) + sigma n, with alpha^2 + sigma^2 = 1.

The noise is gamma(t) = log(sigma^2 / alpha^2) (Kingma et al. 2021, "Variational diffusion models").
Embeddings are learned; their rows have a fixed size, since a bound could otherwise be won by making
them large. z and the embeddings have W numbers a token.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import pieces, resolve
from dlm_jax.core.entries import at_token
from dlm_jax.core.errors import require_known
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.core.types import Params, PyTree
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Process
from dlm_jax.schedules.gamma_schedules import GammaSchedule, LearnedSchedule

NORMS = ("unit", "root")


# The network sees gamma / GAMMA_SCALE in place of the time, so that a schedule can change under it.
GAMMA_SCALE = 20.0


@dataclass(frozen=True, kw_only=True)
class NoisyEmbeddings(Process):
  """The state of `gaussian.Gaussian`; it works once `bind` has put its embeddings in place.

  Attributes:
    schedule: gamma(t).
    width: W, the size of an embedding.
    norm: size of every embedding: `unit`, 1, or `root`, sqrt(W).
    embeddings: `[V, W]` float32, set by `bind`.
  """

  schedule: GammaSchedule
  width: PositiveInt = 16
  norm: str = "unit"
  embeddings: Array | None = resolve.runtime()

  def __post_init__(self) -> None:
    require_known("process.norm", self.norm, NORMS)

  @property
  def size(self) -> float:
    """The root mean square of the numbers in an embedding."""
    return 1.0 if self.norm == "root" else 1.0 / math.sqrt(self.width)

  @property
  def num_embeddings(self) -> int:
    return 0  # the network receives embeddings, not tokens

  def init(self, key: Array) -> Params:
    """The first parameters: `embeddings` `[V, W]`, and `schedule` if it is learned."""
    params: dict[str, PyTree] = {
      "embeddings": jax.random.normal(key, (self.vocab_size, self.width))
    }
    if isinstance(self.schedule, LearnedSchedule):
      params["schedule"] = self.schedule.init()
    return params

  def bind(self, params: Params) -> Self:
    """The process with `params` in place, the rows of the embeddings brought to their size."""
    rows = params["embeddings"]
    rows *= self.size * math.sqrt(self.width) / jnp.linalg.norm(rows, axis=-1, keepdims=True)
    schedule = self.schedule
    if isinstance(schedule, LearnedSchedule):
      schedule = schedule.bind(params["schedule"])
    return dataclasses.replace(self, embeddings=rows, schedule=schedule)

  def gamma(self, t: Array) -> Array:
    """log(sigma^2 / alpha^2) at the time `t`."""
    return self.schedule.gamma(t)

  def signal_and_noise(self, t: Array) -> tuple[Array, Array]:
    """alpha and sigma at `t` `[B]` or `[B, L]`, to broadcast against `[B, L, W]`."""
    gamma = base.per_position(self.schedule.gamma(t))[..., None]
    return jnp.sqrt(jax.nn.sigmoid(-gamma)), jnp.sqrt(jax.nn.sigmoid(gamma))

  def seen(self, z: Array, t: Array) -> tuple[Array, Array]:
    """What the network receives as state, of unit size, and as time."""
    alpha, sigma = self.signal_and_noise(t)
    return jax.lax.rsqrt((alpha * self.size) ** 2 + sigma**2) * z, self.gamma(t) / GAMMA_SCALE

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    return draws.row_normal(key, (*shape, self.width))

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    alpha, sigma = self.signal_and_noise(t)
    z = alpha * self.embeddings[x] + sigma * draws.row_normal(key, (*x.shape, self.width))
    return self.hold(z, x, given)

  def hold(self, z: Array, tokens: Array, given: Array | None) -> Array:
    """`z` with the clean embeddings of `tokens` at given positions."""
    if given is None:
      return z
    return jnp.where(given[..., None], self.embeddings[tokens], z)

  def times(self, t: Array, given: Array | None) -> Array:
    """The times of the positions: 0 where they are given, since they are clean."""
    return t if given is None else jnp.where(given, 0.0, base.per_position(t))

  def read(
    self,
    denoise: base.Denoise,
    z: Array,
    t: Array,
    reader: base.Reader,
    operands: tuple[Array, ...] = (),
  ) -> PyTree:
    """`reader(prediction, *operands)` of each position, from one evaluation of the network.

    Predictions, of V numbers a position, are held for a few positions at a time.
    """

    def score(output: Array, z: Array, t: Array, *operands: Array) -> PyTree:
      return reader(self.predict(output, z, t), *operands)

    times = jnp.broadcast_to(base.per_position(t), z.shape[:2])
    everywhere = jnp.ones(z.shape[:2], bool)
    return base.score_positions(denoise, z, t, score, (z, times, *operands), everywhere)

  def nearest_tokens(self, z: Array) -> Array:
    """The token whose embedding is nearest to each position of the state, int32 `[B, L]`."""
    nearest = lambda row: jnp.argmax(row @ self.embeddings.T, axis=-1)  # noqa: E731
    return jax.lax.map(nearest, z).astype(jnp.int32)  # V numbers a position, of one row at a time

  def log_bayes(self, x: Array, t: Array) -> Array:
    """log p(token | x) `[B, L, V]`, x being its embedding plus noise of variance e^gamma(t)."""
    precision = jnp.exp(-base.per_position(self.schedule.gamma(t)))[..., None]
    return jax.nn.log_softmax(precision * (x @ self.embeddings.T))

  def log_p_at_start(self, key: Array, x: Array) -> Array:
    """log p(x | z_0) `[B, L]` by Bayes' rule from each position alone, for outputs other than
    logits."""
    start = jnp.zeros(x.shape[:1])
    alpha, _ = self.signal_and_noise(start)

    def log_p(seen: Array, x: Array) -> Array:
      return at_token(self.log_bayes(seen, jnp.zeros(seen.shape[:1])), x)

    number = pieces.number(x.shape[1], x.shape[0] * self.vocab_size)
    return pieces.map_in_pieces(log_p, (self.corrupt(key, x, start) / alpha, x), number)

  def prior_divergence(self, clean: Array) -> Array:
    """KL(N(alpha_1 e, sigma_1^2) || N(0, 1)) in nats `[B, L]`, `clean` `[B, L, W]` being e."""
    gamma = self.schedule.gamma(jnp.ones(()))
    signal = jax.nn.sigmoid(-gamma)
    spread = jax.nn.softplus(-gamma) - signal  # sigma^2 - 1 - log sigma^2
    return 0.5 * (signal * jnp.sum(clean**2, axis=-1) + self.width * spread)
