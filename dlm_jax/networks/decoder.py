"""The Flax modules of `llama`."""

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
  from dlm_jax.networks.llama import Llama


class GroupedQueryAttention(nn.Module):
  """Attention in which H / G heads of the queries share one head of keys and values.

  With a cache, the keys and values `[2, B, S, G, K]` of a row, those of `x` are written into it and
  it is what `x` attends to.
  """

  config: "Llama"

  @nn.compact
  def __call__(
    self, x_BLD: Array, shared: LayerInputs, cache: Array | None
  ) -> tuple[Array, Array | None]:
    c = self.config
    q_BLHK = self._project("query", x_BLD, c.heads)
    k_BLGK = self._project("key", x_BLD, c.key_heads)
    v_BLGK = self._project("value", x_BLD, c.key_heads)
    if c.qk_norm:
      q_BLHK = layers.Norm("rms", c.epsilon, name="query_norm")(q_BLHK)
      k_BLGK = layers.Norm("rms", c.epsilon, name="key_norm")(k_BLGK)
    q_BLHK = layers.rotate(q_BLHK, shared.angles)
    k_BLGK = layers.rotate(k_BLGK, shared.angles)
    kernel = attention.choose(c.attention, x_BLD.dtype, cpu="flat")
    if cache is None:
      att_BLHK = attention.attend(q_BLHK, k_BLGK, v_BLGK, kernel, shared.pattern, shared.valid)
    else:
      cache = attention.write(cache, k_BLGK, v_BLGK, shared.write_positions)
      att_BLHK = attention.attend_masked(q_BLHK, *cache, shared.mask, kernel)
    init = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2)
    out_HKD = self.param("out", init, (c.heads, c.size_of_head, c.width), jnp.float32)
    return jnp.einsum("blhk,hkd->bld", att_BLHK, out_HKD.astype(x_BLD.dtype)), cache

  def _project(self, name: str, x_BLD: Array, heads: int) -> Array:
    """`x` W, plus a bias if the config asks for one, as heads `[B, L, heads, K]`."""
    shape = (self.config.width, heads, self.config.size_of_head)
    init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
    kernel = self.param(name, init, shape, jnp.float32).astype(x_BLD.dtype)
    y_BLHK = jnp.einsum("bld,dhk->blhk", x_BLD, kernel)
    if not self.config.qkv_bias:
      return y_BLHK
    bias = self.param(f"{name}_bias", nn.initializers.zeros, shape[1:], jnp.float32)
    return y_BLHK + bias.astype(x_BLD.dtype)


class LlamaLayer(nn.Module):
  """x + attention(norm(x)), and then x + feedforward(norm(x))."""

  config: "Llama"

  @nn.compact
  def __call__(
    self, x_BLD: Array, shared: LayerInputs, dropout_keys: Array | None, cache: Array | None
  ) -> tuple[Array, Array | None]:
    c = self.config
    keys = (None, None) if dropout_keys is None else dropout_keys
    h_BLD = layers.Norm("rms", c.epsilon, name="attention_norm")(x_BLD)
    h_BLD, cache = GroupedQueryAttention(c, name="attention")(h_BLD, shared, cache)
    x_BLD = self._add(x_BLD, h_BLD, keys[0])
    h_BLD = layers.Norm("rms", c.epsilon, name="feedforward_norm")(x_BLD)
    h_BLD = layers.Feedforward("swiglu", c.hidden_width, name="feedforward")(h_BLD)
    return self._add(x_BLD, h_BLD, keys[1]), cache

  def _add(self, x: Array, branch: Array, dropout_keys: Array | None) -> Array:
    x = x + layers.dropout(branch, self.config.dropout, dropout_keys)
    return constrain(x, BATCH_AXES, None, None)


class LlamaModule(nn.Module):
  """The whole network: `hidden` and `head` are its two halves, see `Network`."""

  config: "Llama"

  def setup(self) -> None:
    c = self.config
    self.weights = embedding.declare(self, c.interface, c.width)
    self.layers = stack(LlamaLayer, c, depth=c.depth, unroll=c.unroll, remat=c.remat)
    self.final_norm = layers.Norm("rms", c.epsilon)
    if c.time_conditioned:
      self.time = layers.TimeEmbedding(c.condition_width)
      self.time_projection = layers.Dense(c.width, zero=True)
    if c.num_labels:
      shape, init = (c.num_labels + 1, c.width), nn.initializers.normal(0.02)
      self.label_embedding = self.param("label_embedding", init, shape, jnp.float32)
    if not c.tied_head:
      shape = (c.width, c.interface.columns)
      self.head_kernel = self.param("head_kernel", nn.initializers.zeros, shape, jnp.float32)

  def __call__(self, inputs: Inputs) -> Array:
    return self.head(self.hidden(inputs))

  def hidden(self, inputs: Inputs) -> Array:
    length = inputs.shape[1]
    if isinstance(inputs.pattern, Blocks):
      inputs = two_streams(inputs)
    shared = LayerInputs(angles=self._angles(inputs), pattern=inputs.pattern, valid=inputs.valid)
    return self._run(inputs, shared, None)[0][:, :length]

  def extend(
    self, inputs: Inputs, cache: Array, write_positions: Array, mask: Array
  ) -> tuple[Array, Array]:
    shared = LayerInputs(angles=self._angles(inputs), write_positions=write_positions, mask=mask)
    return self._run(inputs, shared, cache)

  def head(self, hidden: Array) -> Array:
    c = self.config
    kernel = self.weights.table[: c.interface.columns].T if c.tied_head else self.head_kernel
    kernel = kernel.astype(hidden.dtype)
    return jnp.einsum("...d,dv->...v", hidden, kernel, preferred_element_type=jnp.float32)

  def _angles(self, inputs: Inputs) -> Array:
    c = self.config
    return layers.rotary_angles(inputs.positions_or_default, c.rotated, c.rotary_base)

  def _run(
    self, inputs: Inputs, shared: LayerInputs, cache: Array | None
  ) -> tuple[Array, Array | None]:
    """The normed output of the last layer, and the cache if there is one."""
    c = self.config
    x_BLD = embedding.apply(self.weights, inputs, c.compute_dtype)
    if c.time_conditioned:
      t = inputs.time[:, None] if inputs.time.ndim == 1 else inputs.time
      x_BLD += self.time_projection(self.time(t)).astype(x_BLD.dtype)
    labels = embedding.label_rows(inputs, c.num_labels, c.label_dropout)
    if labels is not None:
      table = constrain(self.label_embedding, None, None)
      x_BLD += table[labels][:, None].astype(x_BLD.dtype)
    x_BLD, cache = self.layers(x_BLD, shared, layer_keys(inputs.dropout_keys, c.depth), cache)
    return self.final_norm(x_BLD), cache
