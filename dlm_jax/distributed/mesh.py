"""The device mesh: axes `data` (batch), `fsdp` (batch and parameters), `tensor` (heads, hidden)."""

import math
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import AxisType, Mesh

from dlm_jax.core.errors import UserError

AXES = ("data", "fsdp", "tensor")
# The axes over which the rows of a batch are spread.
BATCH_AXES = ("data", "fsdp")


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
  """Builds the mesh over all devices of all processes.

  Args:
    sizes: the size of each of `AXES`; one may be -1 for "all that is left".
    devices: other devices than those here, to compile for them ahead of time.

  Raises:
    UserError: an axis is unknown, or the sizes do not multiply to the number of devices.
  """
  unknown = set(sizes) - set(AXES)
  if unknown:
    raise UserError(f"the mesh has no axis {unknown.pop()!r}: its axes are {', '.join(AXES)}.")
  shape = [sizes.get(axis, 1) for axis in AXES]
  count = jax.device_count() if devices is None else len(devices)
  if shape.count(-1) == 1:
    rest = math.prod(size for size in shape if size != -1)
    shape[shape.index(-1)] = count // rest if rest > 0 else 0
  if min(shape) < 1 or math.prod(shape) != count:
    raise UserError(
      f"the mesh {dict(sizes)} does not fit the {count} devices here: "
      "the sizes must multiply to that number, and one of them may be -1."
    )
  return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def batch_shards(mesh: Mesh) -> int:
  """Into how many pieces the rows of a global batch are cut."""
  return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def rows_of_batch(batch_size: int, mesh: Mesh | None) -> int:
  """`batch_size` rounded up to what the mesh divides; as it is without a mesh."""
  shards = 1 if mesh is None else batch_shards(mesh)
  return -(-batch_size // shards) * shards
