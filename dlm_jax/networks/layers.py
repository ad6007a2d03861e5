"""The parts of a transformer block. Parameters are float32 and are used in the compute dtype."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.distributed.sharding import constrain


class Norm(nn.Module):
  """LayerNorm or RMSNorm over the last axis with a weight and no bias, computed in float32.

  Attributes:
    kind: `layer` (subtract the mean) or `rms`.
    epsilon: added to the variance.
  """

  kind: str = "layer"
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: Array) -> Array:
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
    y = x.astype(jnp.float32)
    if self.kind == "layer":
      y = y - jnp.mean(y, axis=-1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.epsilon)
    return (y * scale).astype(x.dtype)


class Linear(nn.Module):
  """x W + b over the last axis.

  Attributes:
    features: size of the output.
    zero: initialise the weight to zero, as adaLN does for its modulations.
  """

  features: int
  zero: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    init = nn.initializers.zeros if self.zero else nn.initializers.lecun_normal()
    kernel = self.param("kernel", init, (x.shape[-1], self.features), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
    return jnp.einsum("...c,cf->...f", x, kernel.astype(x.dtype)) + bias.astype(x.dtype)


class Feedforward(nn.Module):
  """tanh-GELU(x W_up + b) W_down + b (`gelu`), or (SiLU(x W_gate) * x W_up) W_down (`swiglu`).

  Attributes:
    kind: `gelu` or `swiglu`.
    hidden: width of the hidden layer.
  """

  kind: str
  hidden: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    width, init = x.shape[-1], nn.initializers.lecun_normal()
    up = self.param("up", init, (width, self.hidden), jnp.float32).astype(x.dtype)
    down = self.param("down", init, (self.hidden, width), jnp.float32).astype(x.dtype)
    if self.kind == "swiglu":
      gate = self.param("gate", init, (width, self.hidden), jnp.float32).astype(x.dtype)
      h = nn.silu(jnp.einsum("bld,df->blf", x, gate)) * jnp.einsum("bld,df->blf", x, up)
      return jnp.einsum("blf,fd->bld", h, down)
    up_bias = self.param("up_bias", nn.initializers.zeros, (self.hidden,), jnp.float32)
    down_bias = self.param("down_bias", nn.initializers.zeros, (width,), jnp.float32)
    h = nn.gelu(jnp.einsum("bld,df->blf", x, up) + up_bias.astype(x.dtype), approximate=True)
    return jnp.einsum("blf,fd->bld", h, down) + down_bias.astype(x.dtype)


def embed(table: Array, z: Array, dtype: jnp.dtype) -> Array:
  """Rows `z` int32 `[B, L]` of a table `[V, D]` float32, in `dtype`; its gradient is float32.

  The plain gradient would add up rows in `dtype`: half of all positions hold the mask, and a sum of
  thousands in bfloat16 loses what is added last.
  """
  return _rows(table, z, dtype, table.shape)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _rows(table: Array, z: Array, dtype: jnp.dtype, shape: tuple[int, int]) -> Array:
  del shape
  # A gather from a sharded table can rematerialise it on every device: lay it out whole first, when
  # it is small already.
  return constrain(table.astype(dtype), None, None)[z]


def _rows_forward(
  table: Array, z: Array, dtype: jnp.dtype, shape: tuple[int, int]
) -> tuple[Array, Array]:
  return _rows(table, z, dtype, shape), z


def _rows_backward(
  dtype: jnp.dtype, shape: tuple[int, int], z: Array, gradient: Array
) -> tuple[Array, None]:
  del dtype
  # Whole on each device, which adds up its own rows: spread over columns, it would add up all rows.
  summed = jnp.zeros(shape, jnp.float32).at[z].add(gradient.astype(jnp.float32))
  return constrain(summed, None, None), None


_rows.defvjp(_rows_forward, _rows_backward)


class TimeEmbedding(nn.Module):
  """c = SiLU(W_2 SiLU(W_1 sincos(1000 t))) (DiT, Peebles and Xie 2022; the time scale of MD4).

  Attributes:
    features: size C of the conditioning vector.
    frequencies: size of the sinusoidal embedding, cosines first, longest period 1e4.
  """

  features: int
  frequencies: int = 256

  @nn.compact
  def __call__(self, t: Array) -> Array:
    half = self.frequencies // 2
    rates = jnp.exp(-math.log(1e4) * jnp.arange(half) / half)
    angles = 1000.0 * t[..., None].astype(jnp.float32) * rates
    h = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    h = nn.silu(Linear(self.features, name="first")(h))
    return nn.silu(Linear(self.features, name="second")(h))


def rotary_angles(positions: Array, head_width: int, base: float = 1e4) -> Array:
  """Angles of rotary embedding at `positions` [L], float32 `[L, K/2]` (Su et al. 2021, eq. 15)."""
  rates = base ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
  return positions.astype(jnp.float32)[:, None] * rates


def rotate(x: Array, angles: Array) -> Array:
  """Rotates `x` [B, L, H, K] by `angles` [L, K/2], the first half of K against the second."""
  cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.astype(x.dtype)


def dropout(x: Array, rate: float, keys: Array | None) -> Array:
  """Zeroes entries of `x` [B, ...] with probability `rate`, a key a row; None turns it off.

  A key a row makes a batch cut into micro-batches see the same masks as the whole batch.
  """
  if keys is None or rate == 0.0:
    return x
  keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
  return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))
