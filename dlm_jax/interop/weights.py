"""Tensors of a checkpoint become parameters on the mesh, one at a time.

Nothing is read before all names and shapes are found right. A tensor goes from the file straight to
the devices that hold it, in the dtype of the file, and gets its own dtype there, so that the host
holds no more than one tensor, and a copy of it with its axes in our order.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Params, PyTree
from dlm_jax.distributed.sharding import path_name
from dlm_jax.interop.files import DTYPES, TensorFiles, some
from dlm_jax.interop.name_map import NameMap, Tensor


@dataclass(frozen=True)
class Source:
  """The tensors of a checkpoint, found to be those of its family.

  Attributes:
    files: that hold them.
    tensors: all that the network has, by the name map of the family.
  """

  files: TensorFiles
  tensors: tuple[Tensor, ...]


def match(files: TensorFiles, name_map: NameMap, abstract: Params, family: str) -> Source:
  """The tensors of the files as the parameters of a network.

  Args:
    files: of the checkpoint.
    name_map: the name map of the family.
    abstract: shapes of the parameters.
    family: its name, for messages.

  Raises:
    UserError: a tensor is missing, has another shape or type, or is not known.
  """
  tensors = tuple(name_map.tensors({path: leaf.shape for path, leaf in flat(abstract).items()}))
  _require_all(files, name_map, tensors, family)
  for tensor in tensors:
    found = files.entries[tensor.name]
    if found.shape != tensor.shape:
      raise UserError(
        f"{found.path}: {tensor.name} has the shape {list(found.shape)}, but config.json "
        f"describes a {family} model in which it has {list(tensor.shape)}."
      )
    if found.dtype not in DTYPES:
      raise UserError(
        f"{found.path}: the tensor {tensor.name} is of the type {found.dtype}, as in a quantised "
        f"model: take a checkpoint whose weights are {', '.join(DTYPES)}."
      )
  _require_equal_copies(files, name_map)
  return Source(files, tensors)


def load(source: Source, abstract: Params, dtype: jnp.dtype) -> Params:
  """The parameters on their shards.

  Args:
    source: of `match`.
    abstract: shapes and shardings of the parameters.
    dtype: that they are held in.
  """
  places = flat(abstract)
  loaded: dict[str, Array] = {}
  for tensor in source.tensors:
    for which, path in enumerate(tensor.line.paths):
      piece = source.files.read(tensor.name, tensor.slices[which])
      piece = tensor.to_ours(piece, which)
      place = places[path]
      if not tensor.index:
        loaded[path] = _placed(piece, place.sharding, dtype)
      else:
        if path not in loaded:
          loaded[path] = jnp.zeros(place.shape, dtype, device=place.sharding)
        loaded[path] = _with_piece(loaded[path], piece, tensor.index, place.sharding)
      # The host lets go of a piece before it reads the next, which is when the devices have it.
      jax.block_until_ready(loaded[path])
      del piece
  return nested(loaded)


def flat(params: Params) -> dict[str, jax.ShapeDtypeStruct]:
  """The leaves by their paths, such as `layers/attention/query`."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return {path_name(path): leaf for path, leaf in leaves}


def nested(leaves: dict[str, Array]) -> Params:
  """The inverse of `flat`."""
  tree: PyTree = {}
  for path, leaf in leaves.items():
    *parents, last = path.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = leaf
  return tree


def _require_all(
  files: TensorFiles, name_map: NameMap, tensors: tuple[Tensor, ...], family: str
) -> None:
  known = {tensor.name for tensor in tensors}
  missing = [name for name in known if name not in files.entries]
  copies = {copy for copy, _ in name_map.repeated}
  extra = [
    name for name in files.entries if name not in known | copies and not name_map.is_extra(name)
  ]
  if missing and extra:
    raise UserError(
      f"{files.directory} does not hold the tensors of a {family} model, as its config.json says: "
      f"it lacks {some(sorted(missing))} and has {some(sorted(extra))}. Fetch both again."
    )
  if missing:
    raise UserError(
      f"{files.directory} lacks {some(sorted(missing))} of a {family} model: fetch it again."
    )
  if extra:
    raise UserError(
      f"{files.directory} has tensors that a {family} model of its config.json does not have: "
      f"{some(sorted(extra))}."
    )


def _require_equal_copies(files: TensorFiles, name_map: NameMap) -> None:
  for copy, original in name_map.repeated:
    if copy in files.entries and not np.array_equal(files.read(copy), files.read(original)):
      raise UserError(
        f"{files.directory}: config.json says that {copy} is {original} (tied), but the two differ."
      )


def _placed(piece: np.ndarray, sharding: NamedSharding, dtype: jnp.dtype) -> Array:
  """A host array on its shards, converted there."""
  placed = jax.make_array_from_callback(piece.shape, sharding, lambda index: piece[index])
  return placed if placed.dtype == dtype else jax.jit(lambda a: a.astype(dtype))(placed)


def _with_piece(
  whole: Array, piece: np.ndarray, index: tuple[int, ...], sharding: NamedSharding
) -> Array:
  """A stacked parameter with the piece of one layer (and expert) in its place."""
  spec = (*sharding.spec, *(None,) * (whole.ndim - len(sharding.spec)))
  of_piece = NamedSharding(sharding.mesh, PartitionSpec(*spec[len(index) :]))
  placed = _placed(piece, of_piece, piece.dtype)
  return _writer(sharding)(whole, placed, *index)


@functools.cache
def _writer(sharding: NamedSharding) -> Callable[..., Array]:
  """`(whole, piece, *index) -> whole` with the piece written in place."""

  def write(whole: Array, piece: Array, *index: int) -> Array:
    piece = piece.astype(whole.dtype)[(None,) * len(index)]
    # XLA's compiler for a CPU updates an array of bfloat16 by computing all of it again, and one of
    # integers in place.
    bits = jnp.dtype(f"uint{8 * whole.dtype.itemsize}")
    of_whole, of_piece = (jax.lax.bitcast_convert_type(a, bits) for a in (whole, piece))
    starts = (*index, *(0,) * (whole.ndim - len(index)))
    written = jax.lax.dynamic_update_slice(of_whole, of_piece, starts)
    return jax.lax.bitcast_convert_type(written, whole.dtype)

  return jax.jit(write, donate_argnums=0, out_shardings=sharding)
