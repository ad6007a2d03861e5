"""Masked diffusion with a DiT in plain JAX: Linen's layers, the attention of `jax.nn`, optax.

On a GPU in bfloat16.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array

from experiments.benchmarks.peers.settings import CONDITION, EMA_DECAY, LEARNING_RATE
from experiments.benchmarks.shape import Shape


class Block(nn.Module):
  """A DiT block: attention and feedforward, modulated by the condition."""

  heads: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array, condition: Array, cos: Array, sin: Array) -> Array:
    rows, length, width = x.shape
    dense, norm = (partial(layer, dtype=self.dtype) for layer in (nn.Dense, nn.LayerNorm))
    parts = jnp.split(dense(6 * width)(condition)[:, None], 6, axis=-1)
    shift, scale, gate, shift_f, scale_f, gate_f = parts
    h = norm(use_bias=False)(x) * (1 + scale) + shift
    qkv = dense(3 * width, use_bias=False)(h).reshape(rows, length, 3, self.heads, -1)
    q, k, v = (qkv[:, :, i] for i in range(3))
    h = jax.nn.dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
    x = x + gate * dense(width, use_bias=False)(h.reshape(rows, length, width))
    h = norm(use_bias=False)(x) * (1 + scale_f) + shift_f
    return x + gate_f * dense(width)(nn.gelu(dense(4 * width)(h)))


class DiT(nn.Module):
  """Embedding, blocks, and a head of its own."""

  shape: Shape
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, z: Array, t: Array) -> Array:
    c = self.shape
    angles = 1000 * t[:, None] * jnp.exp(-math.log(1e4) * jnp.arange(128) / 128)
    condition = nn.Dense(CONDITION)(jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1))
    condition = nn.silu(nn.Dense(CONDITION)(nn.silu(condition)))
    half = c.width // c.heads // 2
    angles = jnp.arange(c.length)[:, None] * 1e4 ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    x = nn.Embed(c.vocab_size + 1, c.width, dtype=self.dtype)(z)
    for _ in range(c.depth):
      x = Block(c.heads, self.dtype)(x, condition, cos, sin)
    x = nn.LayerNorm(use_bias=False, dtype=self.dtype)(x)
    return nn.Dense(c.vocab_size, dtype=self.dtype)(x).astype(jnp.float32)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
  """Rotary embedding of `[B, L, H, K]`."""
  first, second = jnp.split(x, 2, axis=-1)
  turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.astype(x.dtype)


def _start(shape: Shape) -> tuple[DiT, optax.Params]:
  on_gpu = jax.default_backend() == "gpu"
  model = DiT(shape, jnp.dtype(jnp.bfloat16 if on_gpu else jnp.float32))
  z = jnp.zeros((1, shape.length), jnp.int32)
  return model, jax.jit(model.init)(jax.random.key(0), z, jnp.zeros(1))


def training(shape: Shape) -> Callable[[int], None]:
  """Takes so many steps of training."""
  model, params = _start(shape)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(LEARNING_RATE))
  x = jax.random.randint(jax.random.key(1), (shape.rows, shape.length), 0, shape.vocab_size)

  def loss(params: optax.Params, key: Array) -> Array:
    time_key, mask_key = jax.random.split(key)
    strata = jnp.arange(shape.rows) / shape.rows
    t = (jax.random.uniform(time_key) + strata) % 1 * 0.999 + 0.001
    masked = jax.random.uniform(mask_key, x.shape) < t[:, None]
    logits = model.apply(params, jnp.where(masked, shape.vocab_size, x), t)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, x)
    return jnp.mean(nll * masked / t[:, None])

  def step(state: tuple, key: Array) -> tuple:
    params, average, moments = state
    gradients = jax.grad(loss)(params, key)
    updates, moments = optimizer.update(gradients, moments, params)
    params = optax.apply_updates(params, updates)
    return params, optax.incremental_update(params, average, 1 - EMA_DECAY), moments

  step = jax.jit(step, donate_argnums=0)
  state = params, jax.tree.map(jnp.copy, params), optimizer.init(params)

  def run(steps: int) -> None:
    nonlocal state
    for key in jax.random.split(jax.random.key(2), steps):
      state = step(state, key)
    jax.block_until_ready(state)

  return run


def sampling(shape: Shape) -> Callable[[int], None]:
  """Takes so many steps of ancestral sampling, each with a network evaluation."""
  model, params = _start(shape)

  @jax.jit
  def sample(params: optax.Params, times: Array, key: Array) -> Array:
    def body(z: Array, inputs: tuple) -> tuple[Array, None]:
      t, s, key = inputs
      draw_key, mask_key = jax.random.split(key)
      logits = model.apply(params, z, jnp.full(shape.rows, t))
      drawn = jax.random.categorical(draw_key, logits)
      revealed = jax.random.uniform(mask_key, z.shape) < (t - s) / t
      return jnp.where((z == shape.vocab_size) & revealed, drawn, z), None

    z = jnp.full((shape.rows, shape.length), shape.vocab_size)
    keys = jax.random.split(key, times.size - 1)
    return jax.lax.scan(body, z, (times[:-1], times[1:], keys))[0]

  def run(steps: int) -> None:
    sample(params, jnp.linspace(1.0, 0.0, steps + 1), jax.random.key(0)).block_until_ready()

  return run
