"""What every reported number depends on, written beside it."""

from collections.abc import Mapping
from typing import Any


def protocol(restored: Any, weights: str, environment: Mapping[str, Any]) -> dict[str, Any]:
  """The model, data and machine behind a number, as JSON can hold them.

  Args:
    restored: an `experiment.Restored`.
    weights: `ema` or `raw`.
    environment: of this evaluation: git revision, package versions, devices, dataset hash.
  """
  experiment = restored.experiment
  config = experiment.config.to_dict()
  return {
    "step": restored.step,
    "weights": weights,
    "process": config["process"] | (config["evaluation"].get("process") or {}),
    "packing": config["data"].get("packing"),
    "dtype": str(experiment.network.compute_dtype),
    "environment": dict(environment),
    "trained_at_git_revision": restored.metadata.get("git_revision"),
    "config": config,
  }
