"""Matrix products of hidden states, in the form that the platform is fast at.

On accelerators these are plain products in the compute dtype. XLA's compiler for a CPU is fast
where both operands have one dtype and the result is float32. It is slow at a result of 16 bits, at
operands of two dtypes, which automatic differentiation makes of those, and at transposing an
operand whose rows are summed over. So on a CPU results stay float32, and the backward passes are
written out here: they round the gradient to the dtype of the operands, and the smaller of two
operands is the one that is transposed. There is no forward-mode derivative of them.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.distributed.platform import platform


def product(x: Array, kernel: Array, dtype: jnp.dtype, axes: int = 1) -> Array:
  """The last `axes` axes of `x` contracted with the first of `kernel`, summed in float32.

  Args:
    x: hidden states.
    kernel: float32 parameters.
    dtype: what both are rounded to; and that of the result, which on a CPU is float32.
  """
  if platform() != "cpu":
    return jnp.tensordot(x.astype(dtype), kernel.astype(dtype), axes)
  leading, inputs = x.shape[: x.ndim - axes], math.prod(kernel.shape[:axes])
  y = summed(x.reshape(*leading, inputs), kernel.reshape(inputs, -1), dtype)
  return y.reshape(*leading, *kernel.shape[axes:])


def summed(x: Array, kernel: Array, dtype: jnp.dtype) -> Array:
  """x W `[..., O]` in float32 on every platform.

  Args:
    x: `[..., I]`.
    kernel: float32 `[I, O]`.
    dtype: what both, and in the backward pass the gradient, are rounded to.
  """
  y = _summed(x.reshape(-1, x.shape[-1]), kernel, jnp.dtype(dtype))
  return y.reshape(*x.shape[:-1], -1)


def batched(a: Array, b: Array, axis: int, dtype: jnp.dtype) -> Array:
  """Products `[N, M, P]` float32 of N pairs of matrices.

  Args:
    a: `[N, M, K]`.
    b: `[N, K, P]` where `axis` is 1, `[N, P, K]` where it is 2.
    axis: of `b`, that is summed over.
    dtype: what both are rounded to.
  """
  return _pairs(a, b, axis, jnp.dtype(dtype))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _summed(x: Array, kernel: Array, dtype: jnp.dtype) -> Array:
  return dot(x.astype(dtype), kernel.astype(dtype), ((1,), (0,)))


def _summed_forward(x: Array, kernel: Array, dtype: jnp.dtype) -> tuple[Array, tuple]:
  rounded = x.astype(dtype)
  return _summed(rounded, kernel, dtype), (rounded, kernel, jnp.zeros((), x.dtype))


def _summed_backward(dtype: jnp.dtype, kept: tuple, gradient: Array) -> tuple[Array, Array]:
  x, kernel, like = kept
  gradient = gradient.astype(dtype)
  of_x = dot(gradient, kernel.astype(dtype), ((1,), (1,))).astype(like.dtype)
  return of_x, outer(x, gradient)


_summed.defvjp(_summed_forward, _summed_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _pairs(a: Array, b: Array, axis: int, dtype: jnp.dtype) -> Array:
  return dot(a.astype(dtype), b.astype(dtype), ((2,), (axis,)), (0,))


def _pairs_forward(a: Array, b: Array, axis: int, dtype: jnp.dtype) -> tuple[Array, tuple]:
  rounded = a.astype(dtype), b.astype(dtype)
  return _pairs(*rounded, axis, dtype), (rounded, jnp.zeros((), a.dtype), jnp.zeros((), b.dtype))


def _pairs_backward(
  axis: int, dtype: jnp.dtype, kept: tuple, gradient: Array
) -> tuple[Array, Array]:
  (a, b), like_a, like_b = kept
  gradient = gradient.astype(dtype)
  of_a = dot(gradient, b, ((2,), (3 - axis,)), (0,))
  first, second = (gradient, a) if axis == 2 else (a, gradient)
  of_b = dot(first, second, ((1,), (1,)), (0,))
  return of_a.astype(like_a.dtype), of_b.astype(like_b.dtype)


_pairs.defvjp(_pairs_forward, _pairs_backward)


def outer(x: Array, gradient: Array) -> Array:
  """The gradient x^T g `[I, O]` of a kernel, for `x` `[M, I]` and `gradient` `[M, O]`."""
  if x.shape[1] <= gradient.shape[1]:
    return dot(x, gradient, ((0,), (0,)))
  return dot(gradient, x, ((0,), (0,))).T


def dot(a: Array, b: Array, contracted: tuple, batch: tuple[int, ...] = ()) -> Array:
  """`dot_general` with a float32 result: the axes that are summed over, and those in common."""
  dimensions = (contracted, (batch, batch))
  return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)
