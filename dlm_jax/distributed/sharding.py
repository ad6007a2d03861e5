"""How arrays are laid over the mesh: a table of rules for parameters, a helper for activations."""

import functools
import math
import re
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import KeyPath

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import PyTree
from dlm_jax.distributed.mesh import BATCH_AXES, batch_shards

Rules = Sequence[tuple[str, PartitionSpec]]


def path_name(path: KeyPath) -> str:
  """A tree path as text: `params/blocks/mlp/up`."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Rows of a batch over the batch axes, everything else whole."""
  return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def shardings(tree: PyTree, rules: Rules, mesh: Mesh) -> PyTree:
  """The sharding of every leaf of a train state or of its parameters.

  The first rule whose regular expression is found in the leaf's path applies, so that optimizer
  moments and averages follow their parameter. Scalars are replicated. A mesh axis that does not
  divide its dimension leaves that dimension whole (a vocabulary of 27 on two devices).

  Raises:
    UserError: a leaf with dimensions matches no rule.
  """

  def of_leaf(path: KeyPath, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
    if math.prod(leaf.shape) == 1:
      return replicated(mesh)
    name = path_name(path)
    for pattern, spec in rules:
      if re.search(pattern, name):
        return NamedSharding(mesh, _fit(spec, leaf.shape, mesh))
    raise UserError(
      f"no sharding rule matches {name} of shape {tuple(leaf.shape)}: "
      "add one to the network's sharding_rules."
    )

  return jax.tree_util.tree_map_with_path(of_leaf, tree)


def _fit(spec: PartitionSpec, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
  axes = tuple(spec) + (None,) * (len(shape) - len(spec))
  fits = (a is None or n % mesh.shape[a] == 0 for a, n in zip(axes, shape, strict=True))
  return PartitionSpec(*(a if ok else None for a, ok in zip(axes, fits, strict=True)))


def constrain(x: jax.Array, *axes: str | tuple[str, ...] | None) -> jax.Array:
  """Lays an activation over the ambient mesh (`jax.set_mesh`); without a mesh, returns it as it is.

  Args:
    x: the activation.
    *axes: a mesh axis, a tuple of them or None for each dimension of `x`.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec(*axes))


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
  """The rows of a global batch that the devices of this process hold, in increasing order.

  Where the mesh follows the network of the chips they need not be neighbours, and where the tensor
  axis goes across processes several hold the same.
  """
  size = batch_size // batch_shards(mesh)
  return np.concatenate([np.arange(size) + size * shard for shard in _local_shards(mesh)])


def to_global(rows: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """The global batch from what each process holds: its `local_rows`."""
  shards, sharding = _local_shards(mesh), batch_sharding(mesh)

  def place(array: np.ndarray) -> jax.Array:
    size = len(array) // len(shards)

    def piece(index: tuple[slice, ...]) -> np.ndarray:
      start = size * shards.index((index[0].start or 0) // size)
      return array[start : start + size]

    shape = (size * batch_shards(mesh), *array.shape[1:])
    return jax.make_array_from_callback(shape, sharding, piece)

  return {name: place(array) for name, array in rows.items()}


@functools.cache
def _local_shards(mesh: Mesh) -> tuple[int, ...]:
  """Which of the `batch_shards` pieces of a batch the devices of this process hold."""
  held = batch_sharding(mesh).addressable_devices_indices_map((batch_shards(mesh),))
  return tuple(sorted({rows.start or 0 for (rows,) in held.values()}))
