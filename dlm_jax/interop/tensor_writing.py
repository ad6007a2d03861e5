"""Parameters become the safetensors files of a checkpoint, one tensor at a time."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax import Array
from safetensors.numpy import save_file

from dlm_jax.core.types import Params
from dlm_jax.distributed.sharding import path_name
from dlm_jax.interop.files import INDEX, SINGLE
from dlm_jax.interop.name_map import Tensor

# A file holds no more than this, so that the host never does either.
LARGEST_FILE = 4 << 30


@dataclass(frozen=True)
class NamedTensor:
  """A tensor that is read when it is written.

  Attributes:
    name: in the file.
    bytes: that it takes there.
    read: what gives it.
  """

  name: str
  bytes: int
  read: Callable[[], np.ndarray]


def by_path(params: Params) -> dict[str, Array]:
  """The parameters by their paths, such as `layers/attention/query`."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {path_name(path): leaf for path, leaf in leaves}


def of_parameters(tensor: Tensor, params: dict[str, Array], dtype: np.dtype) -> NamedTensor:
  """A tensor of the name map, for the parameters by their paths."""

  def read() -> np.ndarray:
    parts = [np.asarray(jax.device_get(params[path][tensor.index])) for path in tensor.line.paths]
    return np.ascontiguousarray(tensor.to_theirs(parts).astype(dtype))

  return NamedTensor(tensor.name, int(np.prod(tensor.shape)) * dtype.itemsize, read)


def write(directory: Path, tensors: Iterable[NamedTensor], largest: int = LARGEST_FILE) -> None:
  """Writes one file, or where it would be larger than `largest`, shards of that size and an index.

  Args:
    directory: that they are written to.
    tensors: all that there are.
    largest: bytes of a file; one tensor may be larger.
  """
  shards = _shards(list(tensors), largest)
  names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
  if len(shards) == 1:
    names = [SINGLE]
  for name, shard in zip(names, shards, strict=True):
    read = {tensor.name: tensor.read() for tensor in shard}
    save_file(read, str(directory / name), metadata={"format": "pt"})
    (directory / name).chmod(0o644)  # the library makes files for their owner alone
  if len(shards) > 1:
    total = sum(tensor.bytes for shard in shards for tensor in shard)
    places = {t.name: name for name, shard in zip(names, shards, strict=True) for t in shard}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (directory / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _shards(tensors: list[NamedTensor], largest: int) -> list[list[NamedTensor]]:
  shards: list[list[NamedTensor]] = [[]]
  filled = 0
  for tensor in tensors:
    if shards[-1] and filled + tensor.bytes > largest:
      shards.append([])
      filled = 0
    shards[-1].append(tensor)
    filled += tensor.bytes
  return shards
