"""Tables of results: rows of text, as markdown or HTML, with the marks of `comparison`."""

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dlm_jax.core.records import sign
from dlm_jax.core.types import Record
from dlm_jax.evaluation.estimates import paired_difference
from dlm_jax.reporting.comparison import Group, Result

TITLES = {
  "likelihood": "Likelihood",
  "exact_match": "Answers",
  "samples": "Samples",
  "harness": "lm-evaluation-harness",
}
# What a table says it measured, in words; the rest is in the records.
_MEASURED = {
  "split": "split",
  "packing": "packing",
  "scored": "scored",
  "padding": "padding",
  "config.data.length": "length",
  "environment.dataset_hash": "data",
  "zero_shot.detokenizer": "detokenizer",
  "zero_shot.windows": "windows",
  "judge.name": "judge",
  "judge.step": "judge's step",
  "settings.prompt": "prompt",
}
_COMMON = {
  "step": "step",
  "weights": "weights",
  "dtype": "dtype",
  "standard_error": "standard error",
  "seed": "seed",
  "settings.seed": "seed",
  "environment.device_kind": "device",
  "environment.device_count": "devices",
}


@dataclass(frozen=True)
class Table:
  """A table ready to be written.

  Attributes:
    title: a line.
    caption: what was measured and what the rows share.
    columns, rows: of text.
    notes: a line for each mark.
  """

  title: str
  caption: str
  columns: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  notes: tuple[str, ...]

  def markdown(self) -> str:
    """The table under its title, notes below."""
    lines = [f"### {self.title}", "", self.caption, "", _line(self.columns)]
    lines += ["|" + "---|" * len(self.columns), *map(_line, self.rows)]
    if self.notes:
      lines += ["", *(f"- {note}" for note in self.notes)]
    return "\n".join([*lines, ""])

  def html(self) -> str:
    """The same as HTML."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.columns)
    rows = "".join(
      "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
      for row in self.rows
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
    return (
      f"<h3>{html.escape(self.title)}</h3><p>{html.escape(self.caption)}</p>"
      f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
      f'<ul class="notes">{notes}</ul>'
    )


def of_group(kind: str, group: Group) -> Table:
  """The table of a group of results of one kind."""
  columns, cells = _LAYOUTS[kind](group)
  rows = tuple(
    (f"{result.name} [{mark}]" if mark else result.name, *row)
    for result, mark, row in zip(group.results, group.marks, cells, strict=True)
  )
  notes = [
    f"[{letter}] differs in " + ", ".join(f"{f} = {v}" for f, v in fields.items())
    for letter, fields in group.notes.items()
  ]
  measured = _listed(group.measured, _MEASURED)
  common = _listed(group.common, _COMMON)
  caption = f"Measured: {measured or 'as in the records'}. Unless marked: {common}."
  return Table(TITLES[kind], caption, ("run", *columns), rows, tuple(notes))


def process_text(protocol: Record) -> str:
  """A process in a few words: `block of absorbing, 16`."""
  process = protocol["process"]
  words = process["name"]
  if "inner" in process:
    words += f" of {process['inner']}, {process.get('block_size')}"
  schedule = process.get("schedule") or {}
  return f"{words} ({schedule['name']})" if "name" in schedule else words


def _likelihood(group: Group) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
  columns = ("process", "nats/token", "bits/character", "perplexity", "evaluations a sequence")
  compared, differences = _paired(group)
  rows = []
  for result, difference in zip(group.results, differences, strict=True):
    bound = sign(result.protocol)
    units = ("nats_per_token", "bits_per_character", "perplexity")
    values = (result.record["results"][unit] for unit in units)
    rows.append(
      (
        process_text(result.protocol),
        *(f"{bound}{v['value']:.4g} ± {v['standard_error']:.2g}" for v in values),
        str(result.protocol["network_evaluations_per_sequence"]),
        *difference,
      )
    )
  return (*columns, *compared), rows


def _paired(group: Group) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
  """A column of paired differences to the lowest value, with its header; none without a pair.

  Only results that scored the same rows are compared, and those recorded before records held what a
  comparison needs are not.
  """
  able = [result for result in group.results if "by_cluster" in result.record]
  if len(able) < 2:
    return (), [()] * len(group.results)
  lowest = min(able, key=lambda result: result.record["results"]["nats_per_token"]["value"])

  def cell(result: Result) -> str:
    if result is lowest or result not in able:
      return "-"
    found = paired_difference(result.record["by_cluster"], lowest.record["by_cluster"])
    return "-" if found is None else f"{found.value:+.4g} ± {found.standard_error:.2g}"

  header = f"nats/token above {lowest.name}, paired"
  return (header,), [(cell(result),) for result in group.results]


def _exact_match(group: Group) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
  columns = ("process", "sampler", "steps", "evaluations", "answers", "exactly right")
  rows: list[tuple[str, ...]] = []
  for result in group.results:
    how, share = result.protocol["settings"], result.record["results"]["exact_match"]
    rows.append(
      (
        process_text(result.protocol),
        str(how["sampler"]),
        "-" if how["steps"] is None else str(how["steps"]),
        f"{mean_evaluations(result):.4g}",
        f"{result.record['answers']:,}",
        f"{share['value']:.4f} ± {share['standard_error']:.2g}",
      )
    )
  return columns, rows


# Statistics of samples in the order of their columns.
STATISTICS = (
  "judge_perplexity_over_tokens",
  "judge_perplexity_mean_over_sequences",
  "entropy",
  "repetition_4",
  "distinct_2",
  "self_bleu_4",
  "spelled",
  "copied_16",
)


def _samples(group: Group) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
  present = [s for s in STATISTICS if any(r.record["results"].get(s) for r in group.results)]
  columns = ("process", "sampler", "steps", "evaluations", "tokens/s")
  rows = []
  for result in group.results:
    protocol = result.protocol
    statistics = (result.record["results"].get(name) for name in present)
    rows.append(
      (
        process_text(protocol),
        protocol["sampler"],
        str(protocol["settings"]["steps"]),
        f"{mean_evaluations(result):.4g}",
        f"{protocol['tokens_per_second']:.4g}",
        *(f"{s['value']:.3g} [{s['low']:.3g}, {s['high']:.3g}]" if s else "-" for s in statistics),
      )
    )
  return (*columns, *(name.replace("_", " ") for name in present)), rows


def mean_evaluations(result: Result) -> float:
  """Network evaluations of a batch of samples, on average."""
  counts = result.protocol["network_evaluations"]
  return sum(counts) / len(counts)


def _harness(group: Group) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
  metrics = sorted(
    {
      (task, name)
      for result in group.results
      for task, values in result.record["results"].items()
      for name, value in values.items()
      if isinstance(value, float) and "stderr" not in name
    }
  )
  rows = []
  for result in group.results:
    found = (result.record["results"].get(task, {}).get(name) for task, name in metrics)
    rows.append((process_text(result.protocol), *("-" if v is None else f"{v:.4f}" for v in found)))
  return ("process", *(f"{task} {name.split(',')[0]}" for task, name in metrics)), rows


_LAYOUTS: dict[str, Callable[[Group], tuple[tuple[str, ...], list[tuple[str, ...]]]]] = {
  "likelihood": _likelihood,
  "exact_match": _exact_match,
  "samples": _samples,
  "harness": _harness,
}


def _listed(fields: Mapping[str, str], names: Mapping[str, str]) -> str:
  """The fields that have a name, as `name value`, in a row."""
  values = {name: json.loads(fields[field]) for field, name in names.items() if field in fields}
  return ", ".join(
    f"{name} {str(value)[:12] if name == 'data' else value}"
    for name, value in values.items()
    if value is not None
  )


def _line(cells: Sequence[str]) -> str:
  return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
