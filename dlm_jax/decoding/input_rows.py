"""What the network is given of the rows: their tokens, what stands where none is, and the time."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.soft_tokens import SoftTokens

# From the fraction of noise `[B]` to what the network is given as the time `[B]`.
Clock = Callable[[Array], Array]
# Sets the draws of noise apart from those of candidates.
NOISE = 2**32 - 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class InputRows:
  """Rows as the network is given them.

  Attributes:
    tokens: int32 `[B, n]`, or mixtures of them.
    time: float32 `[B]`; 0 where the network is not given it.
  """

  tokens: Array | SoftTokens
  time: Array

  def first(self, slots: int) -> "InputRows":
    """The first so many slots alone."""
    return InputRows(tokens=jax.tree.map(lambda a: a[:, :slots], self.tokens), time=self.time)

  def every(self, copies: int) -> "InputRows":
    """One of every `copies` neighbouring rows."""
    return jax.tree.map(lambda a: a[::copies], self)

  def at(self, where: Array) -> "InputRows":
    """The slots `where` `[B, n]` alone."""

    def found(array: Array) -> Array:
      index = where.reshape(*where.shape, *[1] * (array.ndim - where.ndim))
      return jnp.take_along_axis(array, index, axis=1)

    return InputRows(tokens=jax.tree.map(found, self.tokens), time=self.time)

  def with_unconditional(self, is_prompt: Array, mask_id: int) -> "InputRows":
    """Every row twice: as it is, and with the mask in the slots `is_prompt` bool `[B, n]`."""
    tokens = self.tokens
    if isinstance(tokens, SoftTokens):
      masked = jnp.where(is_prompt[..., None], mask_id, tokens.tokens)
      without: Array | SoftTokens = SoftTokens(masked, tokens.weights)
    else:
      without = jnp.where(is_prompt, mask_id, tokens)
    unconditional = InputRows(tokens=without, time=self.time)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), self, unconditional)


def noise(keys: Array, number: int, vocab_size: int) -> Array:
  """Random tokens int32 `[B, number]`, each below `vocab_size` as likely as any other.

  `keys` `[B]` are those of the step of each row.
  """

  def of_row(key: Array) -> Array:
    return jax.random.randint(jax.random.fold_in(key, NOISE), (number,), 0, vocab_size)

  return jax.vmap(of_row)(keys)


def mixed(tokens: Array, likely: SoftTokens, where: Array, mask_id: int) -> SoftTokens:
  """`tokens` `[B, S]`, in which the masks in the slots `where` `[B, W]` are mixed with `likely`
  `[B, W, k]`. A mask gets what their weights leave.
  """
  rows, (number, slots) = jnp.arange(len(tokens))[:, None], tokens.shape
  empty = jnp.zeros((number, slots, likely.tokens.shape[-1]))
  others = empty.astype(jnp.int32).at[rows, where].set(likely.tokens, mode="drop")
  weights = empty.at[rows, where].set(likely.weights, mode="drop")
  weights = jnp.where((tokens == mask_id)[..., None], weights, 0.0)
  own = 1.0 - jnp.sum(weights, axis=-1, keepdims=True)
  return SoftTokens(
    jnp.concatenate([tokens[..., None], others], axis=-1),
    jnp.concatenate([own, weights], axis=-1),
  )
