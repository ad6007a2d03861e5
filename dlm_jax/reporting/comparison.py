"""Which results may stand in one table: those whose protocols say that they measured the same.

Where the protocols of two results differ in what is measured (data, split, packing, length, which
positions are scored, judge) they go to different tables. Where they differ in anything else a row
is marked with a letter, and a note below says in what. What all rows of a table share is said once.
So nothing is ever merged unmarked, and no table is written by hand.
"""

import collections
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass

from dlm_jax.core.dotted import dotted
from dlm_jax.core.types import Record

# What is measured, by kind of record: dotted names in the protocol, or prefixes of them.
MEASURED = {
  "likelihood": (
    "environment.dataset_hash",
    "split",
    "zero_shot",
    "packing",
    "scored",
    "padding",
    "config.data.length",
  ),
  "exact_match": ("environment.dataset_hash", "split", "padding", "rows"),
  "samples": (
    "environment.dataset_hash",
    "judge",
    "reference",
    "config.data.length",
    "settings.prompt",
    "settings.infill",
    "settings.length",
  ),
  "harness": ("task_versions", "shots", "limit"),
}
_INDEPENDENT = "of rows counted as independent, too small for text; evaluate again"
# Shown in a column of its own, or without influence on any number.
SHOWN = (
  "process",
  "config.process",
  "config.evaluation",
  "config.mesh",
  "config.checkpoint",
  "config.wandb_project",
  "config.data.directory",
  "config.data.workers",
  "config.training.log_every",
  "config.training.evaluate_every",
  "environment.date",
  "quantity",
  "trajectory",
  "network_evaluations",
  "network_evaluations_per_sequence",
  "tokens_per_second",
  "seconds_without_compilation",
  "sampler",
  "settings.model",
  "settings.workdir",
  "settings.output",
  "settings.steps",
  "settings.sampler",
  "settings.trajectory",
)


@dataclass(frozen=True)
class Result:
  """A record and what it is called.

  Attributes:
    name: of the run.
    record: `results`, `protocol` and more, as read from JSON.
  """

  name: str
  record: Record

  @property
  def kind(self) -> str:
    """`likelihood` unless the record says else."""
    return self.record.get("kind", "likelihood")

  @property
  def protocol(self) -> Record:
    """What the numbers depend on, with what it was before records said it. A bound that was
    recorded before errors allowed for rows of one document says so."""
    protocol = self.record["protocol"]
    if self.kind != "likelihood":
      return protocol
    padding = "ignored" if protocol.get("packing") == "padded" else None
    implied = {"standard_error": _INDEPENDENT, "scored": "all", "padding": padding}
    return implied | protocol


@dataclass(frozen=True)
class Group:
  """Results that measured the same.

  Attributes:
    results: in the order they came.
    measured: what was measured, by dotted name, as JSON text.
    common: what else the unmarked results share.
    marks: a letter or nothing for each result.
    notes: what each letter stands for.
  """

  results: tuple[Result, ...]
  measured: dict[str, str]
  common: dict[str, str]
  marks: tuple[str, ...]
  notes: dict[str, dict[str, str]]


def groups(results: Sequence[Result]) -> list[Group]:
  """Results of one kind as groups that measured the same, each with its marks."""
  parts: dict[str, list[Result]] = collections.defaultdict(list)
  for result in results:
    parts[json.dumps(_measured(result), sort_keys=True)].append(result)
  return [_marked(part) for part in parts.values()]


def _marked(results: Sequence[Result]) -> Group:
  """The group, its commonest protocol unmarked; the first one's where several are as common."""
  others = [_others(result) for result in results]
  counts = collections.Counter(json.dumps(other, sort_keys=True) for other in others)
  usual = json.loads(max(counts, key=counts.__getitem__))
  letters: dict[str, str] = {}
  notes: dict[str, dict[str, str]] = {}
  marks = []
  for other in others:
    fields = sorted(usual.keys() | other.keys())
    differs = {f: other.get(f, "absent") for f in fields if other.get(f) != usual.get(f)}
    if not differs:
      marks.append("")
      continue
    letter = letters.setdefault(json.dumps(differs), _letter(len(letters)))
    notes[letter] = differs
    marks.append(letter)
  return Group(tuple(results), _measured(results[0]), usual, tuple(marks), notes)


def _letter(number: int) -> str:
  """a, b, ..., z, aa, ab, ..."""
  letters = string.ascii_lowercase
  first, last = divmod(number, len(letters))
  return (_letter(first - 1) if first else "") + letters[last]


def _measured(result: Result) -> dict[str, str]:
  prefixes = MEASURED.get(result.kind, ())
  return {f: v for f, v in dotted(result.protocol).items() if _under(f, prefixes)}


def _others(result: Result) -> dict[str, str]:
  prefixes = (*MEASURED.get(result.kind, ()), *SHOWN)
  return {f: v for f, v in dotted(result.protocol).items() if not _under(f, prefixes)}


def _under(field: str, prefixes: Sequence[str]) -> bool:
  return any(field == prefix or field.startswith(f"{prefix}.") for prefix in prefixes)
