"""Products equal the plain ones, and so do their gradients, which are written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlm_jax.networks import layers, products


def close(actual, expected, tolerance):
  for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert a.dtype == e.dtype
    np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


# The gradient of the kernel is made in one of two orders, by which side is smaller.
@pytest.mark.parametrize("outputs", [(3, 2), (2, 2)])
@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 0.1)])
def test_products_with_a_kernel(outputs, dtype, tolerance):
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (2, 3, 5))
  kernel = jax.random.normal(keys[1], (5, *outputs))
  gradient = jax.random.normal(keys[2], (2, 3, *outputs))
  ours, pull = jax.vjp(lambda *a: products.product(*a, jnp.dtype(dtype)), x, kernel)
  plain, pull_plain = jax.vjp(lambda a, b: jnp.tensordot(a, b, 1), x, kernel)
  close((ours, *pull(gradient)), (plain, *pull_plain(gradient)), tolerance)


def test_products_over_two_axes():
  x, kernel = jnp.arange(24.0).reshape(2, 3, 4), jnp.arange(60.0).reshape(3, 4, 5)
  actual = products.product(x, kernel, jnp.float32, axes=2)
  np.testing.assert_allclose(actual, jnp.einsum("bij,ijk->bk", x, kernel))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 0.1)])
def test_batched_products(axis, dtype, tolerance):
  a = jax.random.normal(jax.random.key(0), (2, 4, 5))
  b = jax.random.normal(jax.random.key(1), (2, 5, 3) if axis == 1 else (2, 3, 5))
  gradient = jax.random.normal(jax.random.key(2), (2, 4, 3))
  ours, pull = jax.vjp(lambda a, b: products.batched(a, b, axis, dtype), a, b)
  plain = lambda a, b: a @ (b if axis == 1 else jnp.swapaxes(b, 1, 2))  # noqa: E731
  expected, pull_plain = jax.vjp(plain, a, b)
  close((ours, *pull(gradient)), (expected, *pull_plain(gradient)), tolerance)


def test_gelu_and_its_slope():
  x = jnp.linspace(-6.0, 6.0, 101)
  plain = lambda x: nn.gelu(x, approximate=True)  # noqa: E731
  close(jax.jvp(layers.gelu, (x,), (x,)), jax.jvp(plain, (x,), (x,)), 1e-5)
