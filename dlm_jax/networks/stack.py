"""A stack of attention layers under one scan: the Flax halves that all networks made of one share.

What a layer is, is said by the network: `dit` and `decoder`. Fields and facts of the network are in
`stacked_network`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.core.patterns import FULL, Blocks, Pattern
from dlm_jax.core.types import PyTree
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.platform import platform
from dlm_jax.distributed.sharding import constrain
from dlm_jax.networks import attention, embedding, initialization, layers, products
from dlm_jax.networks.base import Cache, Inputs, LayerCache, two_streams
from dlm_jax.networks.stacked_network import StackedNetwork

# The head is filled up to a multiple of so many columns: 50,257 columns of 16 bits lie at odd
# addresses, for which the matrix units of a GPU have no fast kernel.
COLUMNS = {"gpu": 128}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LayerInputs:
  """What all layers are given beside the hidden states.

  Attributes:
    angles: of rotary embedding, `[L, R]` or `[B, L, R]`; None where nothing is rotated.
    pattern: which position sees which.
    condition: `[B, 1 or L, C]`, what modulates the layers; None for nothing.
    valid: bool `[B, L]`, see `Inputs`.
    write_positions, mask: with a cache, see `Caches.extend`.
  """

  angles: Array | None
  pattern: Pattern = FULL
  condition: Array | None = None
  valid: Array | None = None
  write_positions: Array | None = None
  mask: Array | None = None


def stack(
  block: type[nn.Module], config: object, *, depth: int, unroll: int, remat: str
) -> nn.Module:
  """`depth` layers `block(config)` under one scan: every parameter has a leading layer axis.

  A layer is called with (x `[B, L, D]`, `LayerInputs`, its dropout keys `[2, B]` or None, its cache
  or None) and returns x and its cache.

  Args:
    block, config: the class of a layer, and what it is made from.
    depth: N.
    unroll: layers in one step of the scan; 0 is all of them.
    remat: what the backward pass keeps: `none` recomputes nothing, `dots` keeps the matrix products
      with weights, `full` keeps the input of each layer alone.
  """
  policies = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
  }
  if remat != "none":
    block = nn.remat(block, policy=policies[remat], prevent_cse=False)
  scanned = nn.scan(
    block,
    variable_axes={"params": 0},
    split_rngs={"params": True},
    in_axes=(nn.broadcast, 0, 0),
    length=depth,
    unroll=unroll or depth,
  )
  return scanned(config)


def extend(
  layer: nn.Module, weights: PyTree, x_BLD: Array, shared: LayerInputs, cache: Cache
) -> tuple[Array, Cache]:
  """`x` after `layer` with the weights of each layer in turn, and the cache that has seen it.

  The layers are not scanned: the arrays of a scan are cut out of stacked ones and put together
  again, so that the cache would be copied at each token.

  Args:
    layer: without weights.
    weights: of the layers, see `StackedNetwork.unstacked`.
    x_BLD, shared, cache: what a layer is called with, of all layers.
  """
  extended = []
  for index, of_layer in enumerate(cache):
    own = weights["params"][str(index)]
    x_BLD, longer = layer.apply({"params": own}, x_BLD, shared, None, of_layer)
    assert isinstance(longer, LayerCache)
    extended.append(longer)
  return x_BLD, tuple(extended)


def layer_keys(row_keys: Array | None, depth: int) -> Array | None:
  """Dropout keys `[N, 2, B]`, one for each layer, branch and row, from one a row."""
  if row_keys is None:
    return None
  split = jax.vmap(lambda key: jax.random.split(key, (depth, 2)), out_axes=2)
  return split(row_keys)


class SelfAttention(nn.Module):
  """Attention over the visible positions, H / G heads of the queries to one of keys and values.

  A subclass says what queries, keys and values are. With a cache, those of `x` are written into it
  and it is what `x` attends to.
  """

  config: StackedNetwork

  def project(self, x_BLD: Array) -> tuple[Array, Array, Array]:
    """Queries `[B, L, H, K]`, and keys and values `[B, L, G, K]`."""
    raise NotImplementedError

  @nn.compact
  def __call__(
    self, x_BLD: Array, shared: LayerInputs, cache: LayerCache | None
  ) -> tuple[Array, LayerCache | None]:
    c, dtype = self.config, self.config.compute_dtype
    kernel = attention.choose(c.attention, dtype, x_BLD.shape[1]) if cache is None else "flat"
    axis = attention.heads_axis(kernel)
    q, k, v = (jnp.moveaxis(part, 2, axis) for part in self.project(x_BLD))
    if c.qk_norm:
      q = layers.Norm("rms", c.epsilon, name="query_norm")(q)
      k = layers.Norm("rms", c.epsilon, name="key_norm")(k)
    if c.qkv_clip:
      q, k, v = (jnp.clip(part, -c.qkv_clip, c.qkv_clip) for part in (q, k, v))
    if shared.angles is not None:
      q, k = (layers.rotate(part, shared.angles, axis) for part in (q, k))
    if cache is None:
      attended = attention.attend(q, k, v, kernel, shared.pattern, shared.valid, dtype)
    else:
      written = zip(cache, (k, v), strict=True)
      cache = LayerCache(*(attention.write(*pair, shared.write_positions) for pair in written))
      attended = attention.attend_flat(q, *cache, shared.mask, dtype)
    init = initialization.kernel(c.initialization, in_axis=(0, 1), out_axis=2)
    out_HKD = self.param("out", init, (c.heads, c.size_of_head, c.width), jnp.float32)
    y_BLD = products.product(jnp.moveaxis(attended, axis, 2), out_HKD, dtype, axes=2)
    if c.out_bias:
      of_bias = initialization.bias(c.initialization, c.heads * c.size_of_head)
      y_BLD += self.param("out_bias", of_bias, (c.width,), jnp.float32).astype(y_BLD.dtype)
    return y_BLD, cache


def add_branch(
  x: Array, branch: Array, rate: float, dropout_keys: Array | None, shared: bool = False
) -> Array:
  """The residual stream `x` `[B, L, D]` with the output of a branch, dropped out at `rate`.

  The stream keeps its dtype.
  """
  branch = layers.dropout(branch, rate, dropout_keys, shared).astype(x.dtype)
  return constrain(x + branch, BATCH_AXES, None, None)


class StackedModule(nn.Module):
  """The whole network: `states` and `head` are its two halves, see `Network`.

  A subclass declares its layers in `setup` and says in `run` how the hidden states pass them.
  """

  config: StackedNetwork

  def setup(self) -> None:
    c = self.config
    self.weights = embedding.declare(self, c)
    if c.num_labels:
      shape, init = (c.num_labels + 1, self.label_width), nn.initializers.normal(0.02)
      self.label_embedding = self.param("label_embedding", init, shape, jnp.float32)
    if not c.tied_head:
      shape = (c.width, c.head_columns)
      self.head_kernel = self.param("head_kernel", nn.initializers.zeros, shape, jnp.float32)

  @property
  def label_width(self) -> int:
    """The size of the embedding of a label."""
    raise NotImplementedError

  def run(
    self, inputs: Inputs, shared: LayerInputs, cache: Cache | None
  ) -> tuple[Array, Cache | None]:
    """The normed output of the last layer, and the cache if there is one."""
    raise NotImplementedError

  def __call__(self, inputs: Inputs) -> Array:
    return self.head(self.states(inputs))

  def states(self, inputs: Inputs) -> Array:
    self.config.check_length(inputs.shape[1])
    if isinstance(inputs.pattern, Blocks):
      inputs = two_streams(inputs, self.config.clean_time)
    shared = LayerInputs(angles=self._angles(inputs), pattern=inputs.pattern, valid=inputs.valid)
    return self.run(inputs, shared, None)[0]

  def extend(
    self, inputs: Inputs, cache: Cache, write_positions: Array, mask: Array
  ) -> tuple[Array, Cache]:
    shared = LayerInputs(angles=self._angles(inputs), write_positions=write_positions, mask=mask)
    return self.run(inputs, shared, cache)

  def head(self, hidden: Array) -> Array:
    c = self.config
    kernel = self.weights.table.T if c.tied_head else self.head_kernel
    kernel = kernel[:, : c.interface.columns]
    return layers.project(hidden, kernel, c.compute_dtype, COLUMNS.get(platform(), 1))

  def embed_labels(self, inputs: Inputs) -> Array | None:
    """The embedding of the label of each row `[B, 1, label_width]`; None without labels."""
    labels = embedding.label_rows(inputs, self.config.num_labels, self.config.label_dropout)
    if labels is None:
      return None
    return constrain(self.label_embedding, None, None)[labels][:, None]

  def _angles(self, inputs: Inputs) -> Array | None:
    c = self.config
    if not c.rotated:
      return None
    return layers.rotary_angles(inputs.positions_or_default, c.rotated, c.rotary_base)
