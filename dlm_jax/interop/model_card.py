"""The model card of an export: what the model is, where it comes from, and its bound if known."""

import json
from pathlib import Path

from dlm_jax.core import storage
from dlm_jax.core.types import Record
from dlm_jax.runs import provenance
from dlm_jax.runs.provenance import Provenance


def of_run(origin: Provenance, family: str, parameters: int) -> str:
  """The card of a model that was trained here."""
  facts = {
    "layout": family,
    "parameters": f"{parameters:,}",
    "trained by": f"dlm_jax, git revision {origin.git_revision}",
    "run": f"{Path(origin.workdir).name}, step {origin.step}, {origin.weights} weights",
    "data": f"hash {origin.dataset_hash}",
    "exported by": f"dlm_jax, git revision {provenance.git_revision()}",
  }
  config = json.dumps(origin.config, indent=2, default=list)
  return (
    f"{_head(facts)}\n## Likelihood\n\n{_bounds(origin)}\n## Config\n\n```json\n{config}\n```\n"
  )


def of_checkpoint(directory: Path, family: str, parameters: int) -> str:
  """The card of a checkpoint that was opened and written again, in front of its own card."""
  facts = {
    "layout": family,
    "parameters": f"{parameters:,}",
    "origin": f"the checkpoint {directory.name}, bit for bit",
    "exported by": f"dlm_jax, git revision {provenance.git_revision()}",
  }
  own = directory / "README.md"
  return _head(facts) + (f"\n{own.read_text(encoding='utf-8')}" if own.is_file() else "")


def _head(facts: dict[str, str]) -> str:
  lines = "".join(f"| {name} | {text} |\n" for name, text in facts.items())
  return f"# Diffusion language model\n\n| | |\n|---|---|\n{lines}"


def _bounds(origin: Provenance) -> str:
  """What evaluations of these weights have found."""
  folder = storage.local(origin.workdir) / "evaluations"
  found = [_row(path, origin) for path in sorted(folder.glob("*.json"))]
  rows = [row for row in found if row]
  if not rows:
    return "Not evaluated yet.\n"
  return "| evaluation | quantity | nats a token | standard error |\n|---|---|---|---|\n" + "".join(
    rows
  )


def _row(path: Path, origin: Provenance) -> str:
  record: Record = json.loads(path.read_text(encoding="utf-8"))
  protocol, results = record.get("protocol", {}), record.get("results", {})
  nats = results.get("nats_per_token")
  same = (protocol.get("step"), protocol.get("weights")) == (origin.step, origin.weights)
  if not same or nats is None:
    return ""
  value, error = nats["value"], nats["standard_error"]
  return f"| {path.stem} | {protocol['quantity']} | {value:.4f} | {error:.4f} |\n"
