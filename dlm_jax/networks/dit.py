"""The Flax modules of `transformer`: DiT blocks with optional adaLN-zero modulation.

DiT (Peebles and Xie 2022) as diffusion language models use it (SEDD, MDLM).
"""

import dataclasses
from typing import TYPE_CHECKING

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.networks import embedding, initialization, layers, products
from dlm_jax.networks.base import Cache, Inputs, LayerCache
from dlm_jax.networks.stack import (
  LayerInputs,
  SelfAttention,
  StackedModule,
  add_branch,
  extend,
  layer_keys,
  stack,
)

if TYPE_CHECKING:
  from dlm_jax.networks.transformer import Transformer

Pair = tuple[Array | float, Array | float]


class MultiHeadAttention(SelfAttention):
  """Attention whose queries, keys and values come of one product."""

  config: "Transformer"

  def project(self, x_BLD: Array) -> tuple[Array, Array, Array]:
    c = self.config
    shape = (c.width, 3, c.heads, c.size_of_head)
    init = initialization.kernel(c.initialization, in_axis=0, out_axis=(1, 2, 3))
    qkv = self.param("qkv", init, shape, jnp.float32)
    parts_BL3HK = products.product(x_BLD, qkv, c.compute_dtype)
    if c.biases:
      of_bias = initialization.bias(c.initialization, c.width)
      bias = self.param("qkv_bias", of_bias, shape[1:], jnp.float32)
      parts_BL3HK += bias.astype(parts_BL3HK.dtype)
    q_BLHK, k_BLHK, v_BLHK = jnp.moveaxis(parts_BL3HK, 2, 0)
    return q_BLHK, k_BLHK, v_BLHK


class TransformerBlock(nn.Module):
  """Attention and feedforward, each pre-normed, modulated by the condition and added back."""

  config: "Transformer"

  @nn.compact
  def __call__(
    self, x_BLD: Array, shared: LayerInputs, dropout_keys: Array | None, cache: LayerCache | None
  ) -> tuple[Array, LayerCache | None]:
    c = self.config
    shifts, scales, gates = self._modulation(shared.condition)
    keys = (None, None) if dropout_keys is None else dropout_keys
    h = self._norm("attention_norm")(x_BLD) * (1 + scales[0]) + shifts[0]
    h, cache = MultiHeadAttention(c, name="attention")(h.astype(c.compute_dtype), shared, cache)
    x_BLD = add_branch(x_BLD, gates[0] * h, c.dropout, keys[0], c.shared_dropout)
    h = self._norm("feedforward_norm")(x_BLD) * (1 + scales[1]) + shifts[1]
    feedforward = layers.Feedforward(
      c.feedforward, c.hidden_width, c.initialization, name="feedforward"
    )
    h = feedforward(h.astype(c.compute_dtype))
    return add_branch(x_BLD, gates[1] * h, c.dropout, keys[1], c.shared_dropout), cache

  def _norm(self, name: str) -> layers.Norm:
    c = self.config
    return layers.Norm(c.norm, c.epsilon, c.norm_weights, c.biases, name=name)

  def _modulation(self, condition: Array | None) -> tuple[Pair, Pair, Pair]:
    """Shift, scale and gate of both branches; (0, 0, 1) without conditioning."""
    if condition is None:
      return (0.0, 0.0), (0.0, 0.0), (1.0, 1.0)
    parts = layers.Dense(6 * self.config.width, zero=True, name="modulation")(condition)
    shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = jnp.split(parts, 6, axis=-1)
    return (shift_a, shift_f), (scale_a, scale_f), (gate_a, gate_f)


class TransformerModule(StackedModule):
  """The whole network."""

  config: "Transformer"

  def setup(self) -> None:
    super().setup()
    c = self.config
    self.blocks = stack(TransformerBlock, c, depth=c.depth, unroll=c.unroll, remat=c.remat)
    self.final_norm = layers.Norm(c.norm, c.epsilon, c.norm_weights, c.biases)
    if c.learned_positions:
      shape, init = (c.learned_positions, c.width), nn.initializers.normal(0.02)
      self.position_embedding = self.param("position_embedding", init, shape, jnp.float32)
    if c.conditioning == "adaln":
      self.time = layers.TimeEmbedding(
        c.condition_width, c.time_scale, initialization=c.initialization
      )
      self.final_modulation = layers.Dense(2 * c.width, zero=True)
    if c.head_bias:
      columns = (c.head_columns,)
      self.head_bias = self.param("head_bias", nn.initializers.zeros, columns, jnp.float32)

  @property
  def label_width(self) -> int:
    return self.config.condition_width

  def run(
    self, inputs: Inputs, shared: LayerInputs, cache: Cache | None
  ) -> tuple[Array, Cache | None]:
    c = self.config
    condition = self._condition(inputs)
    shared = dataclasses.replace(shared, condition=condition)
    x_BLD = embedding.apply(self.weights, inputs, c.residual_dtype, c.compute_dtype)
    if c.learned_positions:
      x_BLD += embedding.embed(
        self.position_embedding, inputs.positions_or_default, c.residual_dtype
      )
    if cache is None:
      x_BLD, _ = self.blocks(x_BLD, shared, layer_keys(inputs.dropout_keys, c.depth), None)
    else:
      x_BLD, cache = extend(
        TransformerBlock(c, parent=None), self.blocks.variables, x_BLD, shared, cache
      )
    x_BLD = self.final_norm(x_BLD)
    if condition is not None:
      shift, scale = jnp.split(self.final_modulation(condition), 2, axis=-1)
      x_BLD = x_BLD * (1 + scale) + shift
    return x_BLD.astype(c.compute_dtype), cache

  def head(self, hidden: Array) -> Array:
    logits = super().head(hidden)
    c = self.config
    return logits + self.head_bias[: c.interface.columns] if c.head_bias else logits

  def _condition(self, inputs: Inputs) -> Array | None:
    """The conditioning vector `[B, 1 or L, C]`, or None without conditioning."""
    c, t = self.config, inputs.time
    if c.conditioning == "none":
      return None
    t = t[:, None] if t.ndim == 1 else t
    t = t if c.time_conditioned else jnp.zeros_like(t[:, :1])
    condition = self.time(t)
    labels = self.embed_labels(inputs)
    if labels is not None:
      condition += labels
    return condition.astype(c.compute_dtype)
