"""The parts of a transformer block. Parameters are float32 and are used in the compute dtype."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.networks import initialization, products


class Norm(nn.Module):
  """LayerNorm or RMSNorm over the last axis, computed in float32.

  Attributes:
    kind: `layer` (subtract the mean) or `rms`.
    epsilon: added to the variance.
    weighted: whether it has a weight.
    biased: whether it has a bias.
  """

  kind: str = "layer"
  epsilon: float = 1e-5
  weighted: bool = True
  biased: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    y = x.astype(jnp.float32)
    if self.kind == "layer":
      y = y - jnp.mean(y, axis=-1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.epsilon)
    if self.weighted:
      y = y * self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
    if self.biased:
      y = y + self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    return y.astype(x.dtype)


class Dense(nn.Module):
  """x W + b over the last axis.

  Attributes:
    features: size of the output.
    zero: initialise weight and bias to zero, as adaLN does for its modulations.
    initialization: of the others, by name.
  """

  features: int
  zero: bool = False
  initialization: str = "lecun"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    fan_in, zeros = x.shape[-1], nn.initializers.zeros
    of_kernel = zeros if self.zero else initialization.kernel(self.initialization)
    of_bias = zeros if self.zero else initialization.bias(self.initialization, fan_in)
    kernel = self.param("kernel", of_kernel, (fan_in, self.features), jnp.float32)
    bias = self.param("bias", of_bias, (self.features,), jnp.float32)
    y = products.product(x, kernel, x.dtype)
    return y + bias.astype(y.dtype)


def project(x: Array, kernel: Array, dtype: jnp.dtype, multiple: int = 1) -> Array:
  """x W `[..., V]` in float32, for `x` `[..., D]` and `kernel` `[D, V]`.

  Args:
    dtype: what both are rounded to.
    multiple: computed with zeros up to a multiple of so many columns, which are then left out.
  """
  columns = kernel.shape[1]
  kernel = jnp.pad(kernel, ((0, 0), (0, -columns % multiple)))
  return products.summed(x, kernel, dtype)[..., :columns]


# The gates of a feedforward network, by its name.
GATES = {"swiglu": nn.silu, "glu": nn.sigmoid}


class Feedforward(nn.Module):
  """tanh-GELU(x W_up + b) W_down + b (`gelu`), or (g(x W_gate) * x W_up) W_down, with the gate g
  SiLU (`swiglu`) or the sigmoid (`glu`).

  Attributes:
    kind: `gelu`, `swiglu` or `glu`.
    hidden: width of the hidden layer.
    initialization: of its parameters, by name.
  """

  kind: str
  hidden: int
  initialization: str = "lecun"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    width, init = x.shape[-1], initialization.kernel(self.initialization)
    product = partial(products.product, dtype=x.dtype)
    up = self.param("up", init, (width, self.hidden), jnp.float32)
    down = self.param("down", init, (self.hidden, width), jnp.float32)
    if self.kind in GATES:
      gate = self.param("gate", init, (width, self.hidden), jnp.float32)
      return product(GATES[self.kind](product(x, gate)) * product(x, up), down)
    of_up, of_down = (
      initialization.bias(self.initialization, fan_in) for fan_in in (width, self.hidden)
    )
    up_bias = self.param("up_bias", of_up, (self.hidden,), jnp.float32)
    down_bias = self.param("down_bias", of_down, (width,), jnp.float32)
    h = product(x, up)
    h = product(gelu(h + up_bias.astype(h.dtype)), down)
    return h + down_bias.astype(h.dtype)


@jax.custom_jvp
def gelu(x: Array) -> Array:
  """The tanh approximation of GELU (Hendrycks and Gimpel 2016), computed in float32.

  Its backward pass keeps the slope alone, one array of the size of x, where automatic
  differentiation keeps several and computes powers of x again.
  """
  return _gelu_and_slope(x)[0]


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
  value, slope = _gelu_and_slope(*primals)
  return value, slope * tangents[0]


def _gelu_and_slope(x: Array) -> tuple[Array, Array]:
  factor, cubic = math.sqrt(2 / math.pi), 0.044715
  y = x.astype(jnp.float32)
  tanh = jnp.tanh(factor * y * (1 + cubic * y * y))
  slope = 0.5 * (1 + tanh) + 0.5 * factor * y * (1 - tanh * tanh) * (1 + 3 * cubic * y * y)
  return (0.5 * y * (1 + tanh)).astype(x.dtype), slope.astype(x.dtype)


class TimeEmbedding(nn.Module):
  """c = SiLU(W_2 SiLU(W_1 sincos(scale t))) (DiT, Peebles and Xie 2022).

  Attributes:
    features: size C of the conditioning vector.
    scale: what the time is multiplied with.
    frequencies: size of the sinusoidal embedding, cosines first, longest period 1e4.
    initialization: of its parameters, by name.
  """

  features: int
  scale: float = 1000.0
  frequencies: int = 256
  initialization: str = "lecun"

  @nn.compact
  def __call__(self, t: Array) -> Array:
    half = self.frequencies // 2
    rates = jnp.exp(-math.log(1e4) * jnp.arange(half) / half)
    angles = self.scale * t[..., None].astype(jnp.float32) * rates
    h = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    h = nn.silu(Dense(self.features, initialization=self.initialization, name="first")(h))
    return nn.silu(Dense(self.features, initialization=self.initialization, name="second")(h))


def rotary_angles(positions: Array, head_width: int, base: float = 1e4) -> Array:
  """Angles of rotary embedding, float32 `[..., L, K/2]` (Su et al. 2021, equation 15).

  Args:
    positions: `[L]` or `[B, L]`.
    head_width: K, or the part of it that is rotated.
    base: the longest period over 2 pi.
  """
  rates = base ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
  return positions.astype(jnp.float32)[..., None] * rates


def rotate(x: Array, angles: Array, heads_axis: int) -> Array:
  """Rotates the first 2 R of the K entries of each head by `angles` `[L, R]` or `[B, L, R]`.

  `x` is `[B, L, H, K]`, or `[B, H, L, K]` where `heads_axis` is 1.

  The first half of what is rotated makes pairs with the second half, as in GPT-NeoX and LLaMA.
  """
  angles = jnp.expand_dims(angles, heads_axis - 4)
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  width = 2 * angles.shape[-1]
  first, second = jnp.split(x[..., :width].astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
  turned = turned.astype(x.dtype)
  if width == x.shape[-1]:
    return turned
  return jnp.concatenate([turned, x[..., width:]], axis=-1)


def swiglu_width(width: int) -> int:
  """8/3 of `width`, in 64s: as many parameters as a hidden layer of 4 `width` without a gate."""
  return 64 * round(8 * width / 3 / 64) or 64


def dropout(x: Array, rate: float, keys: Array | None, shared: bool = False) -> Array:
  """Zeroes entries of `x` [B, L, ...] with probability `rate`, a key a row; None turns it off.

  A key a row makes a batch cut into micro-batches see the same masks as the whole batch.

  Args:
    shared: all L positions of a row lose the same entries.
  """
  if keys is None or rate == 0.0:
    return x
  shape = (1, *x.shape[2:]) if shared else x.shape[1:]
  keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, shape))(keys)
  return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))
