"""The record of a run: metrics.jsonl is the truth, TensorBoard and Weights & Biases show it."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import tensorboardX

from dlm_jax.core.types import Fields


class MetricsLog:
  """Appends rows to `<workdir>/metrics.jsonl` and passes them on; silent but on process 0.

  A row is one JSON object: `step`, and numbers by name. On resume the rows after the restored step
  are dropped: the run is about to write them again.
  """

  def __init__(self, workdir: Path, step: int, config: Fields, wandb_project: str = ""):
    """Opens the record.

    Args:
      workdir: directory of the run.
      step: the step the run starts or resumes from.
      config: the resolved config, shown beside the run in Weights & Biases.
      wandb_project: project to report to, none if empty (needs `pip install "dlm_jax[wandb]"`).
    """
    self._active = jax.process_index() == 0
    self._wandb = None
    if not self._active:
      return
    path = workdir / "metrics.jsonl"
    _drop_rows_after(path, step)
    self._file = path.open("a", encoding="utf-8")
    self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
    if wandb_project:
      import wandb  # noqa: PLC0415  optional: loaded by the runs that ask for it

      self._wandb = wandb.init(
        project=wandb_project, name=workdir.name, id=workdir.name, resume="allow", config=config
      )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends one row, without the values that are not finite: JSON has no such number."""
    if not self._active:
      return
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    self._file.write(json.dumps({"step": step, **values}) + "\n")
    self._file.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, step)
    if self._wandb is not None:
      self._wandb.log(dict(values), step=step)

  def close(self) -> None:
    if not self._active:
      return
    self._file.close()
    self._board.close()
    if self._wandb is not None:
      self._wandb.finish()


def read_rows(workdir: Path) -> list[dict[str, float]]:
  """The rows of `metrics.jsonl`; a last line cut off by a crash is left out."""
  path = workdir / "metrics.jsonl"
  if not path.exists():
    return []
  rows = []
  for line in path.read_text(encoding="utf-8").splitlines():
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return rows


def _drop_rows_after(path: Path, step: int) -> None:
  """Rewrites the file without the rows beyond `step`, replacing it in one move."""
  if not path.exists():
    return
  kept = [row for row in read_rows(path.parent) if row["step"] <= step]
  temporary = path.with_suffix(".tmp")
  temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
  os.replace(temporary, path)
