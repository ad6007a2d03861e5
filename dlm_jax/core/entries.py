"""The entry of an array over the vocabulary that a token names."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


def at_token(values: Array, x: Array) -> Array:
  """The entry of `values` `[..., V]` that the token `x` `[...]` names.

  Its gradient is a choice among the V numbers of a position, which is computed along with that of
  the rest; the gradient of a gather is a scatter, which passes over all of them once more.
  """
  return _at_token(values, x, values.shape[-1])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _at_token(values: Array, x: Array, columns: int) -> Array:
  del columns
  return jnp.take_along_axis(values, x[..., None], axis=-1)[..., 0]


def _at_token_forward(values: Array, x: Array, columns: int) -> tuple[Array, Array]:
  return _at_token(values, x, columns), x


def _at_token_backward(columns: int, x: Array, gradient: Array) -> tuple[Array, None]:
  return jnp.where(jnp.arange(columns) == x[..., None], gradient[..., None], 0.0), None


_at_token.defvjp(_at_token_forward, _at_token_backward)
