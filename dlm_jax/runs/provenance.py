"""What every reported number depends on: the model, the code, the packages, the machine."""

import datetime
import importlib.metadata
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax

from dlm_jax.core.types import Json, Record

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml_collections", "numpy")


@dataclass(frozen=True, kw_only=True)
class Provenance:
  """Where a model comes from.

  Attributes:
    workdir: of its run.
    step: of training, at which its weights were saved.
    weights: `ema` or `raw`.
    dtype: that the network computes in here.
    git_revision: of the code that trained it; None if that is not recorded.
    dataset_hash: of the prepared data that it was trained on.
    characters_per_token: of each split of that data.
    config: the resolved config of the run.
    changes: of the optimizer's rates in the course of training, see `Checkpointer.restore`.
  """

  workdir: str
  step: int
  weights: str
  dtype: str
  git_revision: str | None
  dataset_hash: str
  characters_per_token: Mapping[str, float]
  config: Record
  changes: Sequence[Json] = ()


def protocol(provenance: Provenance) -> dict[str, Json]:
  """The model, the data and the machine behind a measured number, as JSON can hold them."""
  config = provenance.config
  return {
    "step": provenance.step,
    "weights": provenance.weights,
    "process": config["process"] | (config["evaluation"].get("process") or {}),
    "packing": config["data"].get("packing"),
    "dtype": provenance.dtype,
    "environment": environment(provenance.dataset_hash),
    "trained_at_git_revision": provenance.git_revision,
    "config": config,
    **({"config_changes": list(provenance.changes)} if provenance.changes else {}),
  }


def environment(dataset_hash: str) -> dict[str, Json]:
  """What a result depends on beside its config: code, packages, devices, data."""
  changes = _git("status", "--porcelain")
  return {
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "git_revision": git_revision(),
    "git_dirty": None if changes is None else bool(changes),
    "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
    "device_kind": jax.devices()[0].device_kind,
    "device_count": jax.device_count(),
    "process_count": jax.process_count(),
    "dataset_hash": dataset_hash,
  }


def git_revision() -> str:
  """The commit that this code comes from, or `unknown` when it is not in a git checkout."""
  return _git("rev-parse", "HEAD") or "unknown"


def version(package: str) -> str | None:
  """The version of an installed package, None where it is not installed."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git(*arguments: str) -> str | None:
  """The output of a git command where this file is, or None when git does not track this file."""
  here = pathlib.Path(__file__).resolve()
  try:
    # An installed copy may lie inside a checkout of something else.
    for command in (("ls-files", "--error-unmatch", here.name), arguments):
      done = subprocess.run(
        ["git", *command], cwd=here.parent, capture_output=True, text=True, check=True
      )
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()
