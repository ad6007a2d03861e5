"""A report built from records: the files that the command `report` reads and writes."""

from collections.abc import Sequence
from pathlib import Path

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import writing
from dlm_jax.core.json_files import read_object
from dlm_jax.core.types import Record
from dlm_jax.reporting import comparison, page, tables
from dlm_jax.reporting.comparison import Group, Result
from dlm_jax.reporting.report_settings import ReportSettings
from dlm_jax.runs.metrics import read_rows

# Where a workdir has records.
_RECORDS = ("evaluations/*.json", "**/*.judged.json", "harness/*.json")


def write_report(settings: ReportSettings) -> list[Path]:
  """Writes the report and returns its files.

  Raises:
    UserError: a directory is not there, or there is nothing to report.
  """
  results = collect(settings)
  curves = {run.name: read_rows(run) for run in map(storage.local, settings.runs)}
  if not results and not any(curves.values()):
    raise UserError("there is nothing to report: name --runs that were evaluated, or --results.")
  grouped = {kind: comparison.groups([r for r in results if r.kind == kind]) for kind in kinds()}
  made = tables_of(grouped)
  output = storage.expand(settings.output)
  files = [output.with_suffix(".md"), output.with_suffix(".html")]
  markdown = "\n".join([f"# {settings.title}", "", *(table.markdown() for table in made)])
  html = page.render(settings.title, curves, grouped, made)
  for file, text in zip(files, (markdown, html), strict=True):
    with writing(file):
      file.write_text(text, encoding="utf-8")
  if settings.keep is not None:
    keep = storage.expand(settings.keep)
    keep.mkdir(parents=True, exist_ok=True)
    for result in results:
      name = result.name.replace("/", "-")
      storage.write_json(keep / f"{name}.json", result.record)
  return files


def kinds() -> Sequence[str]:
  """The kinds of records that a report shows, in their order."""
  return tuple(tables.TITLES)


def tables_of(grouped: dict[str, list[Group]]) -> list[tables.Table]:
  """A table a group."""
  return [tables.of_group(kind, group) for kind, groups in grouped.items() for group in groups]


def collect(settings: ReportSettings) -> list[Result]:
  """The records of all directories that are of a known kind, each under a name of its own."""
  found: list[Result] = []
  runs = list(map(storage.local, settings.runs))
  for directory in (*runs, *map(storage.expand, settings.results)):
    if not directory.is_dir():
      raise UserError(f"there is no directory {directory}: --runs and --results name directories.")
    is_run = directory in runs
    for path in _files(directory, _RECORDS if is_run else ("*.json",)):
      record = _read(path)
      if record is None:
        continue
      name = directory.name if is_run else path.stem
      found.append(Result(name, record))
  return _named_apart(found)


def _files(directory: Path, patterns: Sequence[str]) -> list[Path]:
  return sorted({path for pattern in patterns for path in directory.glob(pattern)})


def _read(path: Path) -> Record | None:
  """The record, or None if the file holds something else."""
  record = read_object(path, way_out="Remove it, or write it again.")
  if "protocol" not in record or "results" not in record:
    return None
  return record if record.get("kind", "likelihood") in kinds() else None


def _named_apart(results: Sequence[Result]) -> list[Result]:
  """Results of one kind and name get a number: `run`, `run (2)`."""
  seen: dict[tuple[str, str], int] = {}
  named = []
  for result in results:
    count = seen[result.kind, result.name] = seen.get((result.kind, result.name), 0) + 1
    name = result.name if count == 1 else f"{result.name} ({count})"
    named.append(Result(name, result.record))
  return named


def main(settings: ReportSettings) -> None:
  """The command `report`."""
  for path in write_report(settings):
    print(f"written to {path}")
