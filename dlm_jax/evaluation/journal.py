"""Results kept one by one as they come, so that a command that was stopped goes on from there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax

from dlm_jax.core.types import Json


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

  def read(self, task: str, settings: dict[str, Json]) -> Iterator[tuple[Json, Json]]:
    """The (key, value) of each result of this identity, `task` and `settings`.

    Lines that a crash cut off are left out.
    """
    if self.path is None or not self.path.exists():
      return
    wanted = self._described(task, settings)
    for line in self.path.read_text(encoding="utf-8").splitlines():
      try:
        row = json.loads(line)
      except json.JSONDecodeError:
        continue
      if row.get("depends_on") == wanted:
        yield row["key"], row["value"]

  def write(self, task: str, settings: dict[str, Json], key: Json, value: Json) -> None:
    """Adds a result; one process writes."""
    if self.path is None or jax.process_index() != 0:
      return
    row = {"key": key, "value": value, "depends_on": self._described(task, settings)}
    with self.path.open("a", encoding="utf-8") as file:
      # The newline comes first, so that a line that a crash cut off spoils no other.
      file.write("\n" + json.dumps(row))

  def _described(self, task: str, settings: dict[str, Json]) -> dict[str, Json]:
    """As JSON gives it back."""
    return json.loads(json.dumps({"task": task, **self.identity, **settings}))
