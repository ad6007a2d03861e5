"""Block diffusion: blocks from left to right, each of them denoised given those before it.

BD3-LM (Arriola et al. 2025). The bound (their eq. 8) is the sum over blocks of the bound of another
discrete process on that block, under a network that sees the clean tokens of earlier blocks:

  -log p(x) <= sum_b nelbo(x^b | x^{<b})

One evaluation on `[x_t ; x]` gives all terms (section 3.2): noisy blocks see themselves and earlier
clean ones, see `patterns.Blocks`. Blocks of one token are autoregression, with a masked token
where the network is asked; a single block is the plain process.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL, Blocks
from dlm_jax.core.ranges import PositiveInt, Probability
from dlm_jax.processes import base, draws
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.processes.facets import Continuous
from dlm_jax.processes.parts import block_masks
from dlm_jax.processes.wrapper import Wrapper


@dataclass(frozen=True, kw_only=True)
class Block(Wrapper):
  """The process: that of `inner` on each block. Build it with `make`.

  Attributes:
    inner: the process of each block, one of tokens whose network sees all of them; its time may
      differ from position to position.
    block_size: tokens a block. The last block is shorter if it does not divide the length.
    clip: the interval of times that `loss` draws from, uniformly and with the bound's own weights
      (section 5.2): extreme times add variance to the gradient and teach little. The masked share
      of a block lies in it, too; above 0.5 all masks weigh 1. `nelbo` uses all of (0, 1]. (1, 1)
      trains on fully masked blocks, right for blocks of one token.
    interval: in the place of `clip`, `[2]`, put in place by `within`; None outside of training.
  """

  block_size: PositiveInt = 4
  clip: tuple[Probability, Probability] = (0.0, 1.0)
  interval: Array | None = resolve.runtime()

  def __post_init__(self) -> None:
    super().__post_init__()
    if not self.clip[0] <= self.clip[1] or self.clip[1] == 0:
      raise UserError(
        f"process.clip must be two times (from, to) in [0, 1], in order, got {self.clip}."
      )
    name = type(self.inner).__name__
    if isinstance(self.inner, Continuous):
      raise UserError(
        f"process.inner must be a process of tokens, such as absorbing: {name} is one of "
        "embeddings."
      )
    if self.inner.pattern != FULL:
      raise UserError(
        f"process.inner is {name}, whose network does not see the whole of a block: take a process "
        "such as absorbing."
      )
    if isinstance(self.inner, Absorbing) and self.inner.masking == "counted":
      raise UserError(
        "process.inner.masking 'counted' needs one time a row, and each block has its own: set it "
        "to 'independent'."
      )

  @property
  def pattern(self) -> Blocks:
    return Blocks(self.block_size)

  @property
  def exact(self) -> bool:
    """Whether the likelihood is exact: `nelbo` of masked single tokens draws nothing."""
    return self.block_size == 1 and isinstance(self.inner, Absorbing)

  @property
  def scored_share(self) -> float:
    return 1.0 if self.exact else self.inner.scored_share

  def within(self, interval: Array) -> Self:
    """The process whose `loss` draws its times from `interval` `[2]`."""
    return dataclasses.replace(self, interval=interval)

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The integrand at times drawn for each block, see `times`; `denoise` receives `clean` tokens.

    Single tokens under absorbing noise are scored masked: at any time that is the only case with a
    loss, and the integral of its weight is 1. So the result is -log p(x_i | x_<i) without noise.
    """
    if self.exact:
      assert isinstance(self.inner, Absorbing)
      masked = dataclasses.replace(self.inner, weighting="uniform")
      return masked.loss(key, base.conditioned(denoise, clean=x), x, jnp.ones(len(x)), given)
    return self._of_blocks(self.inner.nelbo, (0.0, 1.0), key, denoise, x, t, given)

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The loss of `inner` at times in `clip`, or in the interval that is put in its place."""
    interval = self.clip if self.interval is None else self.interval
    return self.loss_within(interval, key, denoise, x, t, given)

  def loss_within(
    self,
    interval: tuple[float, float] | Array,
    key: Array,
    denoise: base.Denoise,
    x: Array,
    t: Array,
    given: Array | None = None,
  ) -> Array:
    """What `loss` would be with `interval` for `clip`.

    Masks are drawn until their share of the block lies in the interval (the authors' code, where
    the interval is not the whole of [0, 1]); other noise is what it is at the time.
    """
    inner, whole = self.inner, isinstance(interval, tuple) and interval == (0.0, 1.0)
    if not isinstance(inner, Absorbing) or whole or t.ndim == 2:
      return self._of_blocks(inner.loss, interval, key, denoise, x, t, given)
    if isinstance(interval, tuple) and interval[0] > 0.5 and inner.weighting == "nelbo":
      inner = dataclasses.replace(inner, weighting="uniform")

    def loss(key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None) -> Array:
      free = base.free(given, x.shape)

      def corrupt(t: Array) -> Array:
        masked = block_masks.draw(key, inner.masked(t), free, self.block_size, interval)
        return jnp.where(masked, inner.mask_id, x)

      return inner.loss_of(corrupt, denoise, x, t, given)

    return self._of_blocks(loss, interval, key, denoise, x, t, given)

  def times(self, key: Array, t: Array, length: int) -> Array:
    """A time for each block `[B, L]` from one for each row `[B]`, uniform in (0, 1] if that is.

    Of n blocks one gets (t + j) / n for each j, in random order. So if the rows have one time in
    each of B strata, then the blocks have one in each of B n: stratified over batch and blocks.
    """
    blocks = -(-length // self.block_size)
    order = jnp.argsort(draws.row_uniform(key, (t.shape[0], blocks)), axis=-1)
    return jnp.repeat((t[:, None] + order) / blocks, self.block_size, axis=1)[:, :length]

  def _of_blocks(
    self,
    integrand: Callable[..., Array],
    interval: tuple[float, float] | Array,
    key: Array,
    denoise: base.Denoise,
    x: Array,
    t: Array,
    given: Array | None,
  ) -> Array:
    """`integrand` at a time for each block, rescaled to `interval`; `t` `[B, L]` stays as it is."""
    time_key, noise_key = draws.split_rows(key, x.shape[0], 2)
    first, last = interval
    if t.ndim == 1:
      t = first + (last - first) * self.times(time_key, t, x.shape[1])
    return integrand(noise_key, base.conditioned(denoise, clean=x), x, t, given)


def make(
  *,
  vocab_size: int,
  inner: str | Mapping[str, object] = "absorbing",
  **fields: object,
) -> Block:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    inner: the process of each block, a config such as `{"name": "absorbing", "mask_id": 3}`, or its
      name alone.
    **fields: `block_size` and `clip`, see `Block`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  config = {"name": inner} if isinstance(inner, str) else inner
  process = resolve.make("dlm_jax.processes", config, vocab_size=vocab_size)
  return resolve.build(Block, {"inner": process, **fields})
