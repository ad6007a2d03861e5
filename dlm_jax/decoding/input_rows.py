"""What the network is given of the rows: their tokens, what stands where none is, and the time."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

# From the fraction of noise `[B]` to what the network is given as the time `[B]`.
Clock = Callable[[Array], Array]
# Sets the draws of noise apart from those of candidates, whose numbers are below it.
NOISE = 2**32 - 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class InputRows:
  """Rows as the network is given them.

  Attributes:
    tokens: int32 `[B, n]`.
    time: float32 `[B]`; 0 where the network is not given it.
  """

  tokens: Array
  time: Array

  def first(self, slots: int) -> "InputRows":
    """The first so many slots alone."""
    return InputRows(tokens=self.tokens[:, :slots], time=self.time)

  def every(self, copies: int) -> "InputRows":
    """One of every `copies` neighbouring rows."""
    return InputRows(tokens=self.tokens[::copies], time=self.time[::copies])

  def at(self, where: Array) -> "InputRows":
    """The slots `where` `[B, n]` alone."""
    return InputRows(tokens=jnp.take_along_axis(self.tokens, where, axis=1), time=self.time)

  def with_unconditional(self, is_prompt: Array, mask_id: int) -> "InputRows":
    """Every row twice: as it is, and with the mask in the slots `is_prompt` bool `[B, n]`."""
    without = jnp.where(is_prompt, mask_id, self.tokens)
    return InputRows(
      tokens=jnp.concatenate([self.tokens, without]), time=jnp.concatenate([self.time] * 2)
    )


def noise(keys: Array, draw: Array, number: int, vocab_size: int) -> Array:
  """Random tokens int32 `[B, number]`.

  Args:
    keys: `[B]`, of the rows.
    draw: int32 `[B]`, the number of the step.
    number: of tokens.
    vocab_size: below which they are, each as likely as any other.
  """

  def of_row(key: Array, step: Array) -> Array:
    key = jax.random.fold_in(jax.random.fold_in(key, NOISE), step)
    return jax.random.randint(key, (number,), 0, vocab_size)

  return jax.vmap(of_row)(keys, draw)
