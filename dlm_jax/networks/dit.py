"""The Flax modules of `transformer`: DiT blocks with optional adaLN-zero modulation.

DiT (Peebles and Xie 2022) as diffusion language models use it (SEDD, MDLM).
"""

from typing import TYPE_CHECKING

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.core.patterns import Blocks
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.sharding import constrain
from dlm_jax.networks import attention, embedding, layers
from dlm_jax.networks.base import Inputs, two_streams
from dlm_jax.networks.stack import LayerInputs, layer_keys, stack

if TYPE_CHECKING:
  from dlm_jax.networks.transformer import Transformer

Pair = tuple[Array | float, Array | float]


class SelfAttention(nn.Module):
  """Multi-head self-attention over the visible positions, without biases.

  With a cache, the keys and values `[2, B, S, H, K]` of a row, those of `x` are written into it and
  it is what `x` attends to.
  """

  config: "Transformer"

  @nn.compact
  def __call__(
    self, x_BLD: Array, shared: LayerInputs, cache: Array | None
  ) -> tuple[Array, Array | None]:
    c = self.config
    shape = (c.width, 3, c.heads, c.head_width)
    init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3))
    qkv = self.param("qkv", init, shape, jnp.float32)
    q_BLHK, k_BLHK, v_BLHK = jnp.einsum("bld,dihk->iblhk", x_BLD, qkv.astype(x_BLD.dtype))
    if c.qk_norm:
      q_BLHK = layers.Norm("rms", name="query_norm")(q_BLHK)
      k_BLHK = layers.Norm("rms", name="key_norm")(k_BLHK)
    q_BLHK = layers.rotate(q_BLHK, shared.angles)
    k_BLHK = layers.rotate(k_BLHK, shared.angles)
    if cache is None:
      att_BLHK = attention.attend(q_BLHK, k_BLHK, v_BLHK, c.attention, shared.pattern, shared.valid)
    else:
      cache = attention.write(cache, k_BLHK, v_BLHK, shared.write_positions)
      att_BLHK = attention.attend_masked(q_BLHK, *cache, shared.mask)
    init = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2)
    out = self.param("out", init, (c.heads, c.head_width, c.width), jnp.float32)
    return jnp.einsum("blhk,hkd->bld", att_BLHK, out.astype(x_BLD.dtype)), cache


class TransformerBlock(nn.Module):
  """Attention and feedforward, each pre-normed, modulated by the condition and added back."""

  config: "Transformer"

  @nn.compact
  def __call__(
    self, x_BLD: Array, shared: LayerInputs, dropout_keys: Array | None, cache: Array | None
  ) -> tuple[Array, Array | None]:
    c = self.config
    shifts, scales, gates = self._modulation(shared.condition)
    keys = (None, None) if dropout_keys is None else dropout_keys
    h = layers.Norm(c.norm, name="attention_norm")(x_BLD) * (1 + scales[0]) + shifts[0]
    h, cache = SelfAttention(c, name="attention")(h, shared, cache)
    x_BLD = self._add(x_BLD, gates[0] * h, keys[0])
    h = layers.Norm(c.norm, name="feedforward_norm")(x_BLD) * (1 + scales[1]) + shifts[1]
    h = layers.Feedforward(c.feedforward, c.hidden_width, name="feedforward")(h)
    return self._add(x_BLD, gates[1] * h, keys[1]), cache

  def _add(self, x: Array, branch: Array, dropout_keys: Array | None) -> Array:
    x = x + layers.dropout(branch, self.config.dropout, dropout_keys)
    return constrain(x, BATCH_AXES, None, None)

  def _modulation(self, condition: Array | None) -> tuple[Pair, Pair, Pair]:
    """Shift, scale and gate of both branches; (0, 0, 1) without conditioning."""
    if condition is None:
      return (0.0, 0.0), (0.0, 0.0), (1.0, 1.0)
    parts = layers.Dense(6 * self.config.width, zero=True, name="modulation")(condition)
    shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = jnp.split(parts, 6, axis=-1)
    return (shift_a, shift_f), (scale_a, scale_f), (gate_a, gate_f)


class TransformerModule(nn.Module):
  """The whole network: `hidden` and `head` are its two halves, see `Network`."""

  config: "Transformer"

  def setup(self) -> None:
    c = self.config
    self.weights = embedding.declare(self, c.interface, c.width)
    self.blocks = stack(TransformerBlock, c, depth=c.depth, unroll=c.unroll, remat=c.remat)
    self.final_norm = layers.Norm(c.norm)
    if c.conditioning == "adaln":
      self.time = layers.TimeEmbedding(c.condition_width)
      self.final_modulation = layers.Dense(2 * c.width, zero=True)
    if c.num_labels:
      shape = (c.num_labels + 1, c.condition_width)
      init = nn.initializers.normal(0.02)
      self.label_embedding = self.param("label_embedding", init, shape, jnp.float32)
    zeros, columns = nn.initializers.zeros, c.interface.columns
    if not c.tied_head:
      self.head_kernel = self.param("head_kernel", zeros, (c.width, columns), jnp.float32)
    self.head_bias = self.param("head_bias", zeros, (columns,), jnp.float32)

  def __call__(self, inputs: Inputs) -> Array:
    return self.head(self.hidden(inputs))

  def hidden(self, inputs: Inputs) -> Array:
    length = inputs.shape[1]
    if isinstance(inputs.pattern, Blocks):
      inputs = two_streams(inputs)
    shared = LayerInputs(
      angles=layers.rotary_angles(inputs.positions_or_default, self.config.head_width),
      pattern=inputs.pattern,
      condition=self._condition(inputs),
      valid=inputs.valid,
    )
    return self._run(inputs, shared, None)[0][:, :length]

  def extend(
    self, inputs: Inputs, cache: Array, write_positions: Array, mask: Array
  ) -> tuple[Array, Array]:
    shared = LayerInputs(
      angles=layers.rotary_angles(inputs.positions_or_default, self.config.head_width),
      condition=self._condition(inputs),
      write_positions=write_positions,
      mask=mask,
    )
    return self._run(inputs, shared, cache)

  def _run(
    self, inputs: Inputs, shared: LayerInputs, cache: Array | None
  ) -> tuple[Array, Array | None]:
    """The normed output of the last block, and the cache if there is one."""
    c = self.config
    x_BLD = embedding.apply(self.weights, inputs, c.compute_dtype)
    keys = layer_keys(inputs.dropout_keys, c.depth)
    x_BLD, cache = self.blocks(x_BLD, shared, keys, cache)
    x_BLD = self.final_norm(x_BLD)
    if shared.condition is not None:
      shift, scale = jnp.split(self.final_modulation(shared.condition), 2, axis=-1)
      x_BLD = x_BLD * (1 + scale) + shift
    return x_BLD, cache

  def head(self, hidden: Array) -> Array:
    c = self.config
    kernel = self.weights.table[: c.interface.columns].T if c.tied_head else self.head_kernel
    kernel = kernel.astype(hidden.dtype)
    logits = jnp.einsum("...d,dv->...v", hidden, kernel, preferred_element_type=jnp.float32)
    return logits + self.head_bias

  def _condition(self, inputs: Inputs) -> Array | None:
    """The conditioning vector `[B, 1 or L, C]`, or None without conditioning."""
    c, t = self.config, inputs.time
    if c.conditioning == "none":
      return None
    t = t[:, None] if t.ndim == 1 else t
    t = t if c.time_conditioned else jnp.zeros_like(t[:, :1])
    condition = self.time(t)
    labels = embedding.label_rows(inputs, c.num_labels, c.label_dropout)
    if labels is not None:
      condition += constrain(self.label_embedding, None, None)[labels][:, None]
    return condition.astype(c.compute_dtype)
