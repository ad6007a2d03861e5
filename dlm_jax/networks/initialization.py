"""How parameters are drawn before training, by name: `network.initialization`."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

# (key, shape, dtype) -> values.
Draw = Callable[[Array, tuple[int, ...], jnp.dtype], Array]

# `lecun`: kernels normal with variance 1 / fan-in, biases 0, embeddings normal with 0.02. `torch`:
# all of them uniform within 1 / sqrt(fan-in), as `torch.nn.Linear` is and, for an embedding, the
# `kaiming_uniform_` with a = sqrt(5) of MDLM and SEDD.
NAMES = ("lecun", "torch")


def kernel(
  name: str,
  in_axis: int | Sequence[int] = -2,
  out_axis: int | Sequence[int] = -1,
  batch_axis: Sequence[int] = (),
) -> Draw:
  """Of a matrix that sums over `in_axis`, or of one for each entry of `batch_axis`."""
  if name == "torch":
    return nn.initializers.variance_scaling(
      1 / 3, "fan_in", "uniform", in_axis, out_axis, batch_axis
    )
  return nn.initializers.lecun_normal(in_axis, out_axis, batch_axis)


def bias(name: str, fan_in: int) -> Draw:
  """Of a bias beside a matrix that sums over `fan_in` numbers."""
  return _uniform(fan_in) if name == "torch" else nn.initializers.zeros


def embedding(name: str, width: int) -> Draw:
  """Of a table whose rows have `width` numbers."""
  return _uniform(width) if name == "torch" else nn.initializers.normal(0.02)


def identity(key: Array, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
  """Of a matrix that passes its input on; where that has fewer numbers, the rest is 0."""
  del key
  return jnp.eye(*shape, dtype=dtype)


def _uniform(fan_in: int) -> Draw:
  limit = 1 / math.sqrt(fan_in)

  def draw(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    return jax.random.uniform(key, shape, dtype, -limit, limit)

  return draw
