"""What the first layer receives: the embedding of tokens or states, and the row of a label."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.sharding import constrain
from dlm_jax.networks import initialization
from dlm_jax.networks.base import Inputs
from dlm_jax.networks.products import product
from dlm_jax.networks.stacked_network import StackedNetwork

# Sets the draw that takes labels away apart from those of the layers' dropout.
LABEL_DRAW = 2**31


class InputWeights(NamedTuple):
  """The parameters that read the state.

  Attributes:
    table: `[num_embeddings, E]`, of tokens; E is D where there is no kernel.
    kernel: `[E, D]`, which the rows of the table are multiplied with.
    state_kernel: `[W, D]`, of a continuous state.
    self_condition_kernel: `[W, D]`, of an earlier prediction.
  """

  table: Array | None = None
  kernel: Array | None = None
  state_kernel: Array | None = None
  self_condition_kernel: Array | None = None


def declare(module: nn.Module, config: StackedNetwork) -> InputWeights:
  """Declares the parameters in `module` that the interface of the network needs."""
  interface, width, init = config.interface, config.width, config.initialization
  of_kernel = initialization.kernel(init)
  if interface.state_width is None:
    inner = config.embedding_width or width
    of_table = initialization.embedding(init, inner)
    table = module.param("embedding", of_table, (config.embedding_rows, inner), jnp.float32)
    if not config.embedding_width:
      return InputWeights(table=table)
    kernel = module.param("embedding_kernel", of_kernel, (inner, width), jnp.float32)
    return InputWeights(table=table, kernel=kernel)
  shape = (interface.state_width, width)
  of_state = initialization.identity if config.identity_input else of_kernel
  state = module.param("state_kernel", of_state, shape, jnp.float32)
  if not interface.self_conditioned:
    return InputWeights(state_kernel=state)
  zeros = nn.initializers.zeros
  earlier = module.param("self_condition_kernel", zeros, shape, jnp.float32)
  return InputWeights(state_kernel=state, self_condition_kernel=earlier)


def apply(
  weights: InputWeights, inputs: Inputs, dtype: jnp.dtype, product_dtype: jnp.dtype
) -> Array:
  """The embedding of the inputs `[B, L, D]` in `dtype`; products in `product_dtype`."""
  tokens = inputs.tokens
  if isinstance(tokens, SoftTokens):
    rows = embed(weights.table, tokens.tokens, dtype)
    x = jnp.einsum("blk,blkd->bld", tokens.weights.astype(dtype), rows)
  elif tokens is not None:
    x = embed(weights.table, tokens, dtype)
  else:
    x = product(inputs.states, weights.state_kernel, product_dtype).astype(dtype)
  if weights.kernel is not None:
    x = product(x, weights.kernel, product_dtype).astype(dtype)
  if inputs.self_condition is not None:
    x += product(inputs.self_condition, weights.self_condition_kernel, product_dtype).astype(dtype)
  return constrain(x, BATCH_AXES, None, None)


def label_rows(inputs: Inputs, num_labels: int, label_dropout: float) -> Array | None:
  """The row of the label embedding that each row of the batch takes `[B]`; the last is no label."""
  if not num_labels:
    return None
  labels, keys = inputs.labels, inputs.dropout_keys
  if labels is None:
    return jnp.full(inputs.shape[0], num_labels)
  if keys is None:
    return labels
  draw = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, LABEL_DRAW)))
  return jnp.where(draw(keys) < label_dropout, num_labels, labels)


def embed(table: Array, z: Array, dtype: jnp.dtype) -> Array:
  """Rows `z` int32 `[B, L]` of a table `[V, D]` float32, in `dtype`; its gradient is float32.

  The plain gradient would add up rows in `dtype`: half of all positions hold the mask, and a sum of
  thousands in bfloat16 loses what is added last.
  """
  return _rows(table, z, dtype, table.shape)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _rows(table: Array, z: Array, dtype: jnp.dtype, shape: tuple[int, ...]) -> Array:
  del shape
  # A gather from a sharded table can rematerialise it on every device: lay it out whole first, when
  # it is small already.
  return constrain(table.astype(dtype), None, None)[z]


def _rows_forward(
  table: Array, z: Array, dtype: jnp.dtype, shape: tuple[int, ...]
) -> tuple[Array, Array]:
  return _rows(table, z, dtype, shape), z


def _rows_backward(
  dtype: jnp.dtype, shape: tuple[int, ...], z: Array, gradient: Array
) -> tuple[Array, None]:
  del dtype
  # Whole on each device, which adds up its own rows: spread over columns, it would add up all rows.
  summed = jnp.zeros(shape, jnp.float32).at[z].add(gradient.astype(jnp.float32))
  return constrain(summed, None, None), None


_rows.defvjp(_rows_forward, _rows_backward)
