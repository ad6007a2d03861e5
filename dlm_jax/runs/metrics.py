"""The record of a run: metrics.jsonl is the truth, TensorBoard and Weights & Biases show it."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

import jax
from absl import logging
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from dlm_jax.core.faults import writing
from dlm_jax.core.json_files import parse_objects
from dlm_jax.core.types import Fields, Record

FILE = "metrics.jsonl"


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

    Raises:
      SystemFault: the record cannot be written.
    """
    self._active = jax.process_index() == 0
    self._wandb = None
    if not self._active:
      return
    self._path = workdir / FILE
    with writing(f"the metrics in {workdir}"):
      _drop_rows_after(self._path, step)
      self._board = _Board(workdir / "tensorboard", step + 1)
    if wandb_project:
      import wandb  # noqa: PLC0415  optional: loaded by the runs that ask for it

      self._wandb = wandb.init(
        project=wandb_project, name=workdir.name, id=workdir.name, resume="allow", config=config
      )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends one row, without the values that are not finite: JSON has no such number.

    Raises:
      SystemFault: the row cannot be written.
    """
    if not self._active:
      return
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    with writing(f"the metrics of step {step} in {self._path.parent}"):
      with self._path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")
      self._board.write(step, values)
    if self._wandb is not None:
      self._wandb.log(dict(values), step=step)

  def close(self) -> None:
    if not self._active:
      return
    if self._wandb is not None:
      self._wandb.finish()
    with writing(f"the metrics in {self._path.parent}"):
      self._board.close()


class _Board:
  """The file that TensorBoard reads.

  Rows are written in place: the library's own writer has a thread that a full disk ends, after
  which the run would wait for it for ever.
  """

  def __init__(self, directory: Path, first_step: int):
    """Opens a new file; what TensorBoard has of `first_step` and later is hidden."""
    directory.mkdir(exist_ok=True)
    self._events = EventsWriter(str(directory / "events"))
    self._events.write_event(
      Event(wall_time=time.time(), step=first_step, session_log=SessionLog(status=SessionLog.START))
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
      summary = scalar(name, value)
      self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))
    self._events.flush()

  def close(self) -> None:
    self._events.close()


def read_rows(workdir: Path) -> list[Record]:
  """The rows of `metrics.jsonl`: `step` and numbers by name.

  Lines that are damaged are left out, with a warning; so is a last line cut off by a crash.
  """
  path = workdir / FILE
  if not path.exists():
    return []
  lines = [(number, row) for number, (_, row) in enumerate(_lines(path), start=1)]
  damaged = [number for number, row in lines[:-1] if row is None]
  if damaged:
    logging.warning("%s: %d damaged lines, from line %d on.", path, len(damaged), damaged[0])
  return [row for _, row in lines if row is not None]


def _lines(path: Path) -> list[tuple[bytes, Record | None]]:
  """Each line, and the row in it; None where it holds none."""
  lines = path.read_bytes().splitlines()  # read once: a run may be writing
  objects = parse_objects(lines)
  rows = (row if row and isinstance(row.get("step"), int) else None for row in objects)
  return list(zip(lines, rows, strict=True))


def _drop_rows_after(path: Path, step: int) -> None:
  """Rewrites the file without the rows beyond `step`, replacing it in one move.

  Damaged lines stay as they are, but for the last, which a crash has cut off.
  """
  if not path.exists():
    return
  lines = _lines(path)
  if lines and lines[-1][1] is None:
    lines.pop()
  temporary = path.with_suffix(".tmp")
  temporary.write_bytes(
    b"".join(line + b"\n" for line, row in lines if row is None or row["step"] <= step)
  )
  os.replace(temporary, path)
