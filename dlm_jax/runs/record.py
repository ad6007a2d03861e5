"""What is remembered of a checkpoint, and how what is read is held against it.

A record is JSON: what the caller wants to remember, and for every array its shape, its dtype and
the fingerprint of its bits, all under a checksum of its own.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import PyTree, Record
from dlm_jax.runs.fingerprint import fingerprints

# The part of the record of a checkpoint that the caller gave, with step and bound.
Metadata = dict[str, Any]

Leaf = TypeVar("Leaf", jax.Array, jax.ShapeDtypeStruct)


class Damaged(Exception):
  """A checkpoint that does not hold what was saved."""


def flatten(tree: PyTree) -> dict[str, jax.Array]:
  """The leaves of a pytree under the names of their paths, such as `params/layers/kernel`."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
  if len(named) != len(leaves):
    raise ValueError("two leaves of the state have the same path: a key holds a '/'.")
  return named


def payload(leaves: Mapping[str, Leaf]) -> dict[str, Leaf]:
  """The leaves that are written to disk."""
  return {name: leaf for name, leaf in leaves.items() if leaf.size}  # Orbax refuses empty arrays


def describe(leaves: Mapping[str, jax.Array]) -> dict[str, Record]:
  """Shape, dtype and fingerprint of each array, as JSON."""
  values = fingerprints(leaves)
  return {
    name: {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "fingerprint": values[name]}
    for name, leaf in leaves.items()
  }


def lowest(bounds: Mapping[int, float | None]) -> int | None:
  """The step with the lowest bound; the newest of equals, None where no step has a bound."""
  finite = {step: bound for step, bound in bounds.items() if bound is not None}
  return min(finite, key=lambda step: (finite[step], -step), default=None)


class _Saved(Protocol):
  """A checkpoint as Orbax describes it to a policy."""

  step: int


@dataclasses.dataclass(frozen=True)
class KeepBest:
  """A preservation policy: the step with the lowest bound.

  Orbax's own `BestN` needs its metrics files: one that does not parse keeps a run from starting.
  """

  bounds: Mapping[int, float | None]

  def should_preserve(self, checkpoints: Sequence[_Saved], *, context: object) -> list[bool]:
    present = {c.step: self.bounds.get(c.step) for c in checkpoints}
    return [c.step == lowest(present) for c in checkpoints]


def placed(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """The leaf with a place to go to."""
  # Without a sharding Orbax would ask for the devices that the run was saved from.
  sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  sharding.shard_shape(leaf.shape)  # raises when it does not divide: not the checkpoint's fault
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def empty(leaf: jax.ShapeDtypeStruct) -> jax.Array:
  """The array of a leaf without elements, which is not on disk."""
  return jax.make_array_from_callback(
    leaf.shape,
    leaf.sharding,
    lambda _: np.zeros(leaf.sharding.shard_shape(leaf.shape), leaf.dtype),
  )


def require_same_model(
  path: os.PathLike,
  saved: Mapping[str, Record],
  wanted: Mapping[str, jax.ShapeDtypeStruct],
  partial: bool,
) -> None:
  """Raises `UserError` where what is wanted is not what was saved, in name, shape or dtype."""
  differences = []
  for name, leaf in wanted.items():
    if name not in saved:
      differences.append(f"{name} is missing there")
    elif tuple(saved[name]["shape"]) != leaf.shape:
      differences.append(f"{name} has shape {tuple(saved[name]['shape'])} there, {leaf.shape} here")
    elif saved[name]["dtype"] != str(leaf.dtype):
      differences.append(f"{name} is {saved[name]['dtype']} there, {leaf.dtype} here")
  if not partial:
    differences += [f"{name} is there only" for name in saved if name not in wanted]
  if differences:
    raise UserError(
      f"the checkpoint {path} is of another model: {listed(differences, '; ')}. Use the config "
      "that it was trained with, or another --workdir to start a new run."
    )


def listed(items: Sequence[str], separator: str = ", ") -> str:
  """The first three of `items`, and how many there are besides."""
  more = f"{separator}and {len(items) - 3} more" if len(items) > 3 else ""
  return separator.join(items[:3]) + more


def require_same_bits(leaves: Mapping[str, jax.Array], saved: Mapping[str, Record]) -> None:
  """Raises `Damaged` where the bits of an array are not those of its record."""
  values = fingerprints(leaves)
  altered = [name for name in leaves if values[name] != saved[name]["fingerprint"]]
  if altered:
    raise Damaged(f"the bits of {listed(altered)} are not those that were saved")


def raise_together(problem: str | None) -> None:
  """Raises `Damaged` on every process when one has a problem, so that all try the same step."""
  if not np.all(multihost_utils.process_allgather(np.asarray(problem is None))):
    raise Damaged(problem or "another process could not read it")


def newest_whole(
  directory: os.PathLike, steps: Sequence[int], read: Callable[[int], tuple[PyTree, Metadata]]
) -> tuple[PyTree, Metadata, list[int]]:
  """The state and the metadata of the newest step that is whole, and the damaged newer steps.

  Args:
    directory: where the checkpoints are, for messages.
    steps: those that are there, in increasing order.
    read: reads and verifies one step; raises `Damaged`.

  Raises:
    UserError: there is no step, or all are damaged.
  """
  if not steps:
    raise UserError(
      f"there is no checkpoint in {directory}: train first, or give another directory."
    )
  damaged = {}
  for step in reversed(steps):
    try:
      state, metadata = read(step)
    except Damaged as error:
      logging.error("DAMAGED CHECKPOINT: step %d in %s: %s.", step, directory, error)
      damaged[step] = error
      continue
    if damaged:
      logging.error("Going back to step %d; steps %s are damaged.", step, list(damaged))
    return state, metadata, list(damaged)
  reasons = [f"step {step}: {error}" for step, error in damaged.items()]
  raise UserError(
    f"every checkpoint in {directory} is damaged: {listed(reasons, '; ')}. Nothing was moved or "
    "deleted: bring the files back from a copy, or start over in another --workdir."
  )


def one_line(error: BaseException) -> str:
  """What went wrong, on one line of 200 characters at the most."""
  while error.__cause__ is not None:  # Orbax wraps what happened in pages of its own settings
    error = error.__cause__
  text = " ".join(f"{type(error).__name__}: {error}".split())
  return text if len(text) <= 200 else text[:200] + "…"
