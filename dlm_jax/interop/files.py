"""The safetensors files of a checkpoint: their headers, and their tensors one at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors

from dlm_jax.core.errors import UserError
from dlm_jax.core.json_files import read_object
from dlm_jax.interop.arrangement import Shape

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What weights are of, as a file calls it; other types are those of quantised models.
DTYPES = ("F64", "F32", "F16", "BF16")
# Bytes at the beginning of a tensor that tell it from others: all of a large checkpoint would take
# minutes to read.
_SAMPLE = 4096


@dataclass(frozen=True)
class Entry:
  """Where a tensor lies.

  Attributes:
    path: of the file.
    shape: of the tensor.
    dtype: as the file calls it.
  """

  path: Path
  shape: Shape
  dtype: str


@dataclass(frozen=True)
class TensorFiles:
  """The tensors of a checkpoint by name; the files are read when a tensor is."""

  directory: Path
  entries: Mapping[str, Entry]

  def read(self, name: str, part: tuple[slice, ...] = ()) -> np.ndarray:
    """A part of a tensor, in the dtype of the file; all of it without a part."""
    with safetensors.safe_open(self.entries[name].path, "numpy") as file:
      return file.get_slice(name)[part or (...,)]


def find(directory: Path) -> TensorFiles:
  """The tensors of the one file, or of all shards that the index names. Only headers are read.

  Raises:
    UserError: a file is missing, cut off or no safetensors file, or lacks what the index says.
  """
  single, index = directory / SINGLE, directory / INDEX
  if single.is_file():
    return TensorFiles(directory, _header(single))
  if not index.is_file():
    raise UserError(
      f"{directory} has neither {SINGLE} nor {INDEX}: weights of another kind (pickles) are not "
      "read, so convert them to safetensors."
    )
  shards = read_object(index, {"weight_map": dict}, way_out="Fetch the checkpoint again.")
  places: dict[str, str] = shards["weight_map"]
  headers = {name: _header(directory / name) for name in sorted(set(places.values()))}
  for tensor, name in places.items():
    if tensor not in headers[name]:
      raise UserError(f"{directory / name} has no tensor {tensor}, which {index} says it has.")
  return TensorFiles(directory, {k: v for header in headers.values() for k, v in header.items()})


def samples(path: Path) -> Iterator[bytes]:
  """The header of a file, which says names, shapes and places, and what each tensor begins with."""
  with path.open("rb") as file:
    size = int.from_bytes(file.read(8), "little")
    header = file.read(size)
    yield header
    tensors = json.loads(header)
    tensors.pop("__metadata__", None)
    for tensor in tensors.values():
      begin, end = tensor["data_offsets"]
      file.seek(8 + size + begin)
      yield file.read(min(end - begin, _SAMPLE))


def _header(path: Path) -> dict[str, Entry]:
  try:
    with safetensors.safe_open(path, "numpy") as file:
      slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no mapping
      return {
        name: Entry(path, tuple(found.get_shape()), found.get_dtype())
        for name, found in slices.items()
      }
  except FileNotFoundError:
    raise UserError(f"{path} is missing: fetch the checkpoint again.") from None
  except (safetensors.SafetensorError, OSError) as error:
    raise UserError(
      f"{path} is no whole safetensors file ({error}): it may be cut off, so fetch it again."
    ) from error


def some(names: Iterable[str]) -> str:
  """The first few of many names, for a message."""
  names = list(names)
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return ", ".join(names[:3]) + more
