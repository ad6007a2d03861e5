"""Block diffusion: blocks from left to right, each of them denoised given those before it.

BD3-LM (Arriola et al. 2025). The bound (their eq. 8) is the sum over blocks of the bound of another
discrete process on that block, under a network that sees the clean tokens of earlier blocks:

  -log p(x) <= sum_b nelbo(x^b | x^{<b})

One evaluation on `[x_t ; x]` gives all terms (section 3.2): noisy blocks see themselves and earlier
clean ones, see `pattern.Blocks`. Blocks of one token are autoregression, with a masked token
where the network is asked; a single block is the plain process.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.patterns import FULL, Blocks
from dlm_jax.processes import base
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.schedules.alpha_schedules import Schedule


@dataclass(frozen=True)
class Block:
  """The process. Build it with `make`.

  Attributes:
    inner: the process of each block, one whose network sees all of it; its time may differ from
      position to position.
    block_size: tokens a block. The last block is shorter if it does not divide the length.
    clip: the interval of times that `loss` draws from, uniformly and with the bound's own weights
      (section 5.2): extreme times add variance to the gradient and teach little. `nelbo` uses all
      of (0, 1]. (1, 1) trains on fully masked blocks, right for blocks of one token.
  """

  inner: base.Process
  block_size: int = 4
  clip: tuple[float, float] = (0.0, 1.0)

  def __post_init__(self) -> None:
    if self.block_size < 1:
      raise UserError(f"process.block_size must be at least 1, got {self.block_size}.")
    object.__setattr__(self, "clip", tuple(self.clip))  # JSON brings a list
    if len(self.clip) != 2 or not 0 <= self.clip[0] <= self.clip[1] <= 1 or self.clip[1] == 0:
      raise UserError(
        f"process.clip must be two times (from, to) in [0, 1], in order, got {self.clip}."
      )
    if base.pattern(self.inner) != FULL:
      raise UserError(
        f"process.inner is {type(self.inner).__name__}, whose network does not see the whole of a "
        "block: take a process such as absorbing."
      )

  @property
  def vocab_size(self) -> int:
    return self.inner.vocab_size

  @property
  def num_embeddings(self) -> int:
    return self.inner.num_embeddings

  @property
  def schedule(self) -> Schedule:
    return self.inner.schedule

  @property
  def mask_id(self) -> int:
    """That of `inner`, if it has one (AttributeError if not)."""
    return self.inner.mask_id

  @property
  def pattern(self) -> Blocks:
    return Blocks(self.block_size)

  @property
  def exact(self) -> bool:
    """Whether the likelihood is exact: `nelbo` of masked single tokens draws nothing."""
    return self.block_size == 1 and isinstance(self.inner, Absorbing)

  def prior(self, key: Array, shape: tuple[int, int]) -> Array:
    return self.inner.prior(key, shape)

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    return self.inner.corrupt(key, x, t, given)

  def log_probs(self, output: Any, z: Array, t: Array) -> Array:
    """log p(x | z, clean tokens of the blocks before)."""
    return self.inner.log_probs(output, z, t)

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The integrand at times drawn for each block, see `times`; `denoise` is told the clean tokens.

    Single tokens under absorbing noise are scored masked: at any time that is the only case with a
    loss, and the integral of its weight is 1. So the result is -log p(x_i | x_<i) without noise.
    """
    if self.exact:
      masked = dataclasses.replace(self.inner, weighting="uniform")
      return masked.loss(key, base.condition(denoise, clean=x), x, jnp.ones(len(x)), given)
    return self._of_blocks(self.inner.nelbo, (0.0, 1.0), key, denoise, x, t, given)

  def constants(self) -> float:
    return self.inner.constants()

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The loss of `inner` at times in `clip`."""
    return self.loss_within(self.clip, key, denoise, x, t, given)

  def loss_within(
    self,
    interval: tuple[float, float] | Array,
    key: Array,
    denoise: base.Denoise,
    x: Array,
    t: Array,
    given: Array | None = None,
  ) -> Array:
    """What `loss` would be with `interval` for `clip`."""
    return self._of_blocks(self.inner.loss, interval, key, denoise, x, t, given)

  def reverse(
    self, key: Array, output: Any, z: Array, t: Array, s: Array, given: Array | None = None
  ) -> Array:
    """One step of `inner`; the sampler applies it to one block at a time."""
    return self.inner.reverse(key, output, z, t, s, given)

  def times(self, key: Array, t: Array, length: int) -> Array:
    """A time for each block `[B, L]` from one for each row `[B]`, uniform in (0, 1] if that is.

    Of n blocks one gets (t + j) / n for each j, in random order. So if the rows have one time in
    each of B strata, then the blocks have one in each of B n: stratified over batch and blocks.
    """
    blocks = -(-length // self.block_size)
    order = jnp.argsort(base.row_uniform(key, (t.shape[0], blocks)), axis=-1)
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
    time_key, noise_key = base.split_rows(key, x.shape[0], 2)
    first, last = interval
    if t.ndim == 1:
      t = first + (last - first) * self.times(time_key, t, x.shape[1])
    return integrand(noise_key, base.condition(denoise, clean=x), x, t, given)


def make(
  *,
  vocab_size: int,
  inner: str | Mapping[str, Any] = "absorbing",
  block_size: int = 4,
  clip: tuple[float, float] = (0.0, 1.0),
  **fields: Any,
) -> Block:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    inner: the process of each block, a config such as `{"name": "absorbing"}`.
    block_size, clip: see `Block`.
    **fields: of the process of each block.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  own = [field.name for field in dataclasses.fields(Block)]
  for name in fields:
    if nearest(name, own):
      raise UserError(f"Block has no field {name!r}: {nearest(name, own)}")
  inner = {"name": inner} if isinstance(inner, str) else inner
  process = resolve.make("dlm_jax.processes", inner, vocab_size=vocab_size, **fields)
  if base.is_continuous(process):
    raise UserError(f"process.inner must be a process on tokens, got {inner!r}.")
  return Block(process, block_size, clip)
