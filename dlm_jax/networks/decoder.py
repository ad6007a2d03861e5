"""The Flax modules of `llama`."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.networks import embedding, initialization, layers, products
from dlm_jax.networks.base import Cache, Inputs, LayerCache
from dlm_jax.networks.experts import Experts
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
  from dlm_jax.networks.llama import Llama


class GroupedQueryAttention(SelfAttention):
  """Attention in which H / G heads of the queries share one head of keys and values."""

  config: "Llama"

  def project(self, x_BLD: Array) -> tuple[Array, Array, Array]:
    c = self.config
    query = self._project("query", x_BLD, c.heads)
    key = self._project("key", x_BLD, c.key_heads)
    return query, key, self._project("value", x_BLD, c.key_heads)

  def _project(self, name: str, x_BLD: Array, heads: int) -> Array:
    """`x` W, plus a bias if the config asks for one, as heads `[B, L, heads, K]`."""
    shape = (self.config.width, heads, self.config.size_of_head)
    init = initialization.kernel(self.config.initialization, in_axis=0, out_axis=(1, 2))
    kernel = self.param(name, init, shape, jnp.float32)
    y_BLHK = products.product(x_BLD, kernel, self.config.compute_dtype)
    if not self.config.qkv_bias:
      return y_BLHK
    of_bias = initialization.bias(self.config.initialization, self.config.width)
    bias = self.param(f"{name}_bias", of_bias, shape[1:], jnp.float32)
    return y_BLHK + bias.astype(y_BLHK.dtype)


class LlamaLayer(nn.Module):
  """x + attention(norm(x)), and then x + feedforward(norm(x))."""

  config: "Llama"

  def feedforward(self, h_BLD: Array) -> Array:
    c = self.config
    return layers.Feedforward("swiglu", c.hidden_width, c.initialization, name="feedforward")(h_BLD)

  @nn.compact
  def __call__(
    self, x_BLD: Array, shared: LayerInputs, dropout_keys: Array | None, cache: LayerCache | None
  ) -> tuple[Array, LayerCache | None]:
    c = self.config
    keys = (None, None) if dropout_keys is None else dropout_keys
    h_BLD = layers.Norm("rms", c.epsilon, name="attention_norm")(x_BLD)
    h_BLD = h_BLD.astype(c.compute_dtype)
    h_BLD, cache = GroupedQueryAttention(c, name="attention")(h_BLD, shared, cache)
    x_BLD = add_branch(x_BLD, h_BLD, c.dropout, keys[0])
    h_BLD = layers.Norm("rms", c.epsilon, name="feedforward_norm")(x_BLD)
    h_BLD = self.feedforward(h_BLD.astype(c.compute_dtype))
    return add_branch(x_BLD, h_BLD, c.dropout, keys[1]), cache


class ExpertLayer(LlamaLayer):
  """A layer whose feedforward network is a mixture of experts."""

  def feedforward(self, h_BLD: Array) -> Array:
    c = self.config
    hidden = c.width_of_expert
    experts = Experts(c, hidden, c.compute_dtype, c.initialization, name="experts")
    out_BLD = experts(h_BLD)
    if c.shared_experts:
      # Experts that every token uses are one network that is as much wider.
      hidden *= c.shared_experts
      out_BLD += layers.Feedforward("swiglu", hidden, c.initialization, name="feedforward")(h_BLD)
    return out_BLD


class LlamaModule(StackedModule):
  """The whole network."""

  config: "Llama"

  def setup(self) -> None:
    super().setup()
    c = self.config
    if c.dense_layers:
      self.dense_layers = self._stack(LlamaLayer, "dense_layers")
    self.layers = self._stack(self._kind, "layers")
    self.final_norm = layers.Norm("rms", c.epsilon)
    if c.time_conditioned:
      self.time = layers.TimeEmbedding(
        c.condition_width, c.time_scale, initialization=c.initialization
      )
      self.time_projection = layers.Dense(c.width, zero=True)

  @property
  def _kind(self) -> type[LlamaLayer]:
    """What the layers after the dense ones are."""
    return ExpertLayer if self.config.experts else LlamaLayer

  def _stack(self, kind: type[LlamaLayer], name: str) -> nn.Module:
    c = self.config
    return stack(kind, c, depth=c.stacks[name], unroll=c.unroll, remat=c.remat)

  @property
  def label_width(self) -> int:
    return self.config.width

  def run(
    self, inputs: Inputs, shared: LayerInputs, cache: Cache | None
  ) -> tuple[Array, Cache | None]:
    c = self.config
    x_BLD = embedding.apply(self.weights, inputs, c.residual_dtype, c.compute_dtype)
    if c.time_conditioned:
      t = inputs.time[:, None] if inputs.time.ndim == 1 else inputs.time
      x_BLD += self.time_projection(self.time(t)).astype(x_BLD.dtype)
    labels = self.embed_labels(inputs)
    if labels is not None:
      x_BLD += labels.astype(x_BLD.dtype)
    keys = layer_keys(inputs.dropout_keys, c.depth)
    extended: Cache = ()
    first = c.dense_layers
    stacks = [(self._kind, self.layers, slice(first, c.depth))]
    if first:
      stacks.insert(0, (LlamaLayer, self.dense_layers, slice(first)))
    for kind, stacked, own in stacks:
      if cache is None:
        x_BLD, _ = stacked(x_BLD, shared, None if keys is None else keys[own], None)
      else:
        layer = kind(c, parent=None)
        x_BLD, longer = extend(layer, stacked.variables, x_BLD, shared, cache[own])
        extended += longer
    return self.final_norm(x_BLD).astype(c.compute_dtype), extended or None
