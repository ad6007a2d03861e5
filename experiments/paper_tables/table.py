"""What the papers report, what it takes to train it here, and ours beside it.

  python -m experiments.paper_tables.table
  python -m experiments.paper_tables.table --row=bd3lm_owt_16 --dry_run
  python -m experiments.paper_tables.table --row=bd3lm_owt_16

The first prints all tables as markdown: each row with its parameters, its cost and its command,
then the published numbers, with ours where the run of a row has been evaluated. The second prints
the stages of a row as they will run, and the third runs them, or goes on with them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dlm_jax import command_line
from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.evaluation.bound import DEFAULTS, EvaluateSettings, evaluate
from dlm_jax.runs.workdir import require_resumable
from dlm_jax.training.checks import check_splits
from dlm_jax.training.run import train
from experiments.paper_tables import ours, published, rows
from experiments.paper_tables.published import Published
from experiments.paper_tables.rows import MACHINES, Stage


@dataclass(frozen=True, kw_only=True)
class TableSettings:
  """What is printed or run.

  Attributes:
    row: run this row of the table: all of its stages, and its evaluation. The default is to print
      the tables.
    dry_run: print the stages of the row, and run nothing.
    runs: directory of the runs, each under the name of its row.
  """

  row: str | None = None
  dry_run: bool = False
  runs: str = "runs"


def main(settings: TableSettings) -> int:
  if settings.row is None:
    if settings.dry_run:
      raise UserError("--dry_run prints the stages of a row: give one with --row.")
    print("\n".join(tables(settings.runs)))
    return 0
  stages = rows.stages(settings.row, settings.runs)
  check(stages)
  if settings.dry_run:
    print("\n".join(described(stages)))
    return 0
  for stage in stages:
    code = train(stage.config.lock(), stage.workdir)
    if code != 0:
      return code
  evaluate(EvaluateSettings(workdir=stages[-1].workdir))
  return 0


def check(stages: Sequence[Stage]) -> None:
  """Raises `UserError` where a stage cannot run, before the first one does.

  The corpus lacks a split that is validated on or scored, or what is there of a stage was another
  run.
  """
  for stage in stages:
    splits = resolve.make("dlm_jax.data.corpora", stage.config.data.corpus).splits
    check_splits(splits)
    require_resumable(stage.workdir, stage.config)
  last = stages[-1]
  split = last.config.evaluation.get("split") or DEFAULTS["split"]
  if split not in splits:
    raise UserError(
      f"the protocol of {last.row} scores the {split} split, and its corpus has only "
      f"{', '.join(splits)}: set evaluation.split to one of them."
    )


def described(stages: Sequence[Stage]) -> Iterator[str]:
  """The stages as they will run, a line or two each."""
  last = stages[-1]
  yield f"{last.row}: {ours.protocol_text(last.config)}"
  for number, stage in enumerate(stages, start=1):
    training, cost = stage.config.training, stage.cost
    yield f"{number}. {stage.train}"
    yield (
      f"   {training.steps:,} steps of {training.batch_size} rows of {stage.config.data.length}: "
      f"{_tokens(cost.tokens)} tokens, {cost.parameters:,} parameters, {cost.flops:.2g} FLOPs"
    )
    hours = (f"{_hours(cost.hours(machine))} h on {machine}" for machine in MACHINES)
    yield f"   {', '.join(hours)}, at {rows.UTILIZATION:.0%} of the peak"
  yield f"{len(stages) + 1}. {last.evaluate}"
  numbers = [number for number in published.load() if number.recipe == last.recipe]
  for corpus in dict.fromkeys(n.corpus for n in numbers if n.trained_on):
    yield f"   zero-shot: {last.evaluate} --corpus={corpus}"
  for number in numbers:
    if number.trained_on is None:
      about = [ours.kind_text(number), ", ".join(number.column), number.source, number.link]
      yield f"   published: {number.text} ({'; '.join(about)})"


def papers() -> Iterator[str]:
  """Markdown: which rows stand in which table of which paper. configs/README.md holds the same."""
  numbers = [number for number in published.load() if ours.row_of(number)]
  yield _line(["table", "of", "rows"])
  yield "|---|---|---|"
  keys = [(n.cited, f"{n.trains}, {published.UNITS[n.metric]}") for n in numbers]
  for source, what in dict.fromkeys(keys):
    pairs = zip(keys, numbers, strict=True)
    found = dict.fromkeys(f"`{ours.row_of(n)}`" for key, n in pairs if key == (source, what))
    yield _line([source, what, " ".join(found)])


def tables(directory: str) -> Iterator[str]:
  """Markdown: the rows, then the published numbers, a table for each that was measured."""
  numbers = published.load()
  yield from ["## Rows", "", *_row_table(directory), "", "## Published numbers", ""]
  found = ours.read_all(directory)
  plain = [number for number in numbers if number.trained_on is None]
  for column in dict.fromkeys(number.column for number in plain):
    yield from [f"### {', '.join(column)}", ""]
    yield from _number_table([n for n in plain if n.column == column], found)
    yield ""
  zero_shot = [number for number in numbers if number.trained_on is not None]
  for column in dict.fromkeys(number.column for number in zero_shot):
    yield from [f"### {', '.join(column)}", ""]
    yield from _zero_shot_table([n for n in zero_shot if n.column == column], found)
    yield ""


def _row_table(directory: str) -> Iterator[str]:
  machines = [f"hours on {machine}" for machine in MACHINES]
  yield _line(["row", "parameters", "tokens", "FLOPs", *machines, "trained by"])
  yield "|" + "---|" * (5 + len(machines))
  for row in rows.names():
    stages = rows.stages(row, directory)
    costs = [stage.cost for stage in stages]
    hours = (_hours(sum(cost.hours(machine) for cost in costs)) for machine in MACHINES)
    tokens, flops = sum(cost.tokens for cost in costs), sum(cost.flops for cost in costs)
    cells = [row, f"{costs[-1].parameters:,}", _tokens(tokens), f"{flops:.2g}", *hours]
    yield _line([*cells, "<br>".join(f"`{stage.train}`" for stage in stages)])


def _number_table(numbers: Sequence[Published], found: Sequence[ours.Ours]) -> Iterator[str]:
  yield _line(["method", "published", "kind", "steps", "trained by", "source", "row", "ours"])
  yield "|" + "---|" * 8
  for number in numbers:
    steps = f"{number.steps:,}" if number.steps else ""
    row = ours.row_of(number) or f"none: {number.why_no_recipe}"
    source = f"{number.cited} ({number.note})" if number.note else number.cited
    cells = [number.text, ours.kind_text(number), steps, number.trained_by, source, row]
    yield _line([number.method, *cells, ours.text(number, found)])


def _zero_shot_table(numbers: Sequence[Published], found: Sequence[ours.Ours]) -> Iterator[str]:
  corpora = list(dict.fromkeys(number.corpus for number in numbers))
  yield _line(["method", "kind", "trained by", "source", "row", *corpora])
  yield "|" + "---|" * (5 + len(corpora))
  for key in dict.fromkeys((n.method, n.source) for n in numbers):
    part = {n.corpus: n for n in numbers if (n.method, n.source) == key}
    first = next(iter(part.values()))
    cells = [_both(part[corpus], found) if corpus in part else "" for corpus in corpora]
    about = [ours.kind_text(first), first.trained_by, first.cited, ours.row_of(first) or "none"]
    yield _line([first.method, *about, *cells])


def _both(number: Published, found: Sequence[ours.Ours]) -> str:
  value = ours.text(number, found)
  return f"{number.text}, ours {value}" if value else number.text


def _line(cells: Sequence[str]) -> str:
  return "| " + " | ".join(cells) + " |"


def _tokens(number: int) -> str:
  return f"{number / 1e9:.3g}B"


def _hours(hours: float) -> str:
  return f"{hours:,.3g}" if hours < 1000 else f"{hours:,.0f}"


if __name__ == "__main__":
  command_line.run(main, TableSettings, distributed=True, stoppable=True)
