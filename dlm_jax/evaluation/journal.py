"""Results kept one by one as they come, so that a command that was stopped goes on from there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jax
from absl import logging

from dlm_jax.core.json_files import read_objects
from dlm_jax.core.types import Json, Record
from dlm_jax.model.model import Model
from dlm_jax.runs import provenance


@dataclass(frozen=True)
class Journal:
  """A JSONL file of results, each with what it depends on.

  Attributes:
    path: the file, which all processes must see; None keeps nothing.
    identity: what all results depend on, such as the data, the weights, the step and the process
      that scores. Results of another identity in the same file are left alone.
  """

  path: Path | None = None
  identity: dict[str, Json] = field(default_factory=dict)

  def read(self, task: str, settings: Mapping[str, Json]) -> Iterator[tuple[Json, Json]]:
    """The (key, value) of each result of this identity, `task` and `settings`.

    Lines that a crash cut off are left out.
    """
    wanted = self._described(task, settings)
    for row in self._rows():
      if row.get("depends_on") == wanted:
        yield row["key"], row["value"]

  def write(self, task: str, settings: Mapping[str, Json], key: Json, value: Json) -> None:
    """Adds a result; one process writes."""
    if self.path is None or jax.process_index() != 0:
      return
    row = {"key": key, "value": value, "depends_on": self._described(task, settings)}
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      with self.path.open("a", encoding="utf-8") as file:
        # The newline comes first, so that a line that a crash cut off spoils no other.
        file.write("\n" + json.dumps(row))
    except OSError as error:  # the command goes on, and its record has all results
      logging.log_first_n(logging.WARNING, "results cannot be kept as they come: %s", 1, error)

  @contextmanager
  def stoppable(self, unit: str) -> Iterator[None]:
    """Ctrl-C inside says how many results are kept, and that the same command goes on from them.

    Args:
      unit: what a result is called, in the plural.
    """
    try:
      yield
    except KeyboardInterrupt:
      if self.path is None:
        raise
      raise KeyboardInterrupt(
        f"what came until then ({unit}: {self._count()}) is kept in {self.path}, and the same "
        "command goes on from there"
      ) from None

  def remove(self) -> None:
    """To be called when the results are in a record: their file goes."""
    if self.path is not None and jax.process_index() == 0:
      self.path.unlink(missing_ok=True)

  def _rows(self) -> Iterator[Record]:
    """The lines of the file, without those that a crash cut off."""
    if self.path is None or not self.path.exists():
      return
    yield from filter(None, read_objects(self.path))

  def _count(self) -> int:
    """Results of this identity, of all tasks and settings."""
    identity = json.loads(json.dumps(self.identity))
    return sum(identity.items() <= row.get("depends_on", {}).items() for row in self._rows())

  def _described(self, task: str, settings: Mapping[str, Json]) -> dict[str, Json]:
    """As JSON gives it back."""
    return json.loads(json.dumps({"task": task, **self.identity, **settings}))


def identity(model: Model) -> dict[str, Json]:
  """What every score and continuation of a model depends on, beside samples and seed."""
  described = provenance.protocol(model.provenance)
  return {
    "dataset_hash": model.provenance.dataset_hash,
    "git_revision": provenance.git_revision(),
    **{name: described[name] for name in ("step", "weights", "process", "dtype")},
  }
