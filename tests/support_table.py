"""Process x sampler x proven property: a table of the README, made from the code and the tests.

  python -m tests.support_table [--write]

Which pairs are defined is asked of the samplers. What is proven is read from the tests that say so:

  @pytest.mark.proves("law", process="uniform", sampler="{name}")

The table of families of checkpoints is made with it, see `family_table`. `{name}` is the test's
parameter of that name. These tests are collected here, not run: the table
says what holds if they pass.
"""

import argparse
import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.processes.base import Process
from dlm_jax.samplers import guidance
from tests import family_table
from tests.contract import test_processes as contract
from tests.family_table import Opening

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- made by: python -m tests.support_table --write -->"
END = "<!-- end of what was made -->"
SAMPLERS = "dlm_jax.samplers"
# Column of each property of a process alone; those of a pair stand in the column of the sampler.
OF_A_PROCESS = ("bound", "golden", "commands")
UNDEFINED, UNPROVEN = "–", "defined"


@dataclass(frozen=True)
class Proof:
  """A test shows `property` of `process` and, where it is one of a pair, of `sampler`."""

  property: str
  process: str
  sampler: str | None = None


@dataclass
class Collector:
  """A pytest plugin that keeps the proofs of all collected tests, in order."""

  proofs: list[Proof] = field(default_factory=list)
  openings: list[Opening] = field(default_factory=list)

  def pytest_collection_finish(self, session: pytest.Session) -> None:
    for item in session.items:
      parameters = item.callspec.params if hasattr(item, "callspec") else {}
      for mark in item.iter_markers("proves"):
        known = {key: label.format(**parameters) for key, label in mark.kwargs.items()}
        self.proofs.append(Proof(*mark.args, **known))
      for mark in item.iter_markers("opens"):
        self.openings.append(Opening(*(text.format(**parameters) for text in mark.args)))


def collect() -> Collector:
  """What all tests prove. Raises `RuntimeError` if they cannot be collected."""
  collector, said = Collector(), io.StringIO()
  tests = sorted((ROOT / "tests").rglob("test_*.py"))
  marks = ("mark.proves(", "mark.opens(")
  files = [str(path) for path in tests if any(m in path.read_text("utf-8") for m in marks)]
  with contextlib.redirect_stdout(said):
    code = pytest.main(["--collect-only", "-q", *files], plugins=[collector])
  if code != pytest.ExitCode.OK:
    raise RuntimeError(f"the tests cannot be collected:\n{said.getvalue()[-3000:]}")
  return collector


def is_defined(sampler: str, process: Process) -> bool:
  """Whether `sampler` draws from `process`, or refuses the pair."""
  return _accepts(lambda: resolve.make(SAMPLERS, {"name": sampler}).check(process))


def is_guided(process: Process) -> bool:
  """Whether guidance is defined for `process`."""
  silent = lambda z, t, **conditioning: z  # noqa: E731
  return _accepts(lambda: guidance.guide(process, silent, silent, 2.0))


def _accepts(attempt: Callable[[], object]) -> bool:
  try:
    attempt()
  except UserError:
    return False
  return True


def sampler_of(label: str) -> tuple[str, str]:
  """`remdm_cap`, as a test calls it, is the sampler `remdm` set to `cap`."""
  name = _longest_prefix(label, [*resolve.names(SAMPLERS), "guidance"])
  return name, label[len(name) + 1 :]


def row_of(process: str, rows: list[str]) -> str:
  """The row of a process as a test calls it: its own, or that of the module it is a case of."""
  if process in contract.VARIANTS and process not in rows:
    return contract.VARIANTS[process][0]
  return _longest_prefix(process, rows)


def _longest_prefix(label: str, names: list[str]) -> str:
  """The name that `label` is, or begins with before an underscore. `ValueError` if none is."""
  found = [name for name in names if label == name or label.startswith(f"{name}_")]
  if not found:
    raise ValueError(f"a test proves something of {label!r}, but there is no such name.")
  return max(found, key=len)


def cell(proofs: Iterable[Proof], defined: bool, in_blocks: bool = False) -> str:
  """What is proven of a pair, such as `law, prompt`, or `law (cap, loop)` of settings.

  With `in_blocks` the inner processes are named in place of the settings: `law (absorbing, duo)`.
  """
  if not defined:
    return UNDEFINED
  settings: dict[str, list[str]] = {}
  for proof in proofs:
    found = settings.setdefault(proof.property, [])
    setting = contract.inner_of(proof.process) if in_blocks else sampler_of(proof.sampler)[1]
    if setting not in found:
      found.append(setting)
  if not settings:
    return UNPROVEN
  return ", ".join(
    name if "" in found else f"{name} ({', '.join(found)})" for name, found in settings.items()
  )


def own_cell(label: str, proofs: list[Proof]) -> str:
  """What is proven of a process alone: `yes`, and of which inner processes the bound in blocks."""
  if not proofs or label != "block" or proofs[0].property != "bound":
    return "yes" if proofs else ""
  inner = {contract.inner_of(proof.process) for proof in proofs}
  return f"yes ({', '.join(sorted(inner))})"


def table(proofs: list[Proof]) -> str:
  """The table in Markdown."""
  paired = {proof.process for proof in proofs if proof.sampler}
  variants = [name for name in contract.VARIANTS if contract.VARIANTS[name][0] != "block"]
  labels = [*resolve.names(contract.PACKAGE), *paired.intersection(variants)]
  samplers = resolve.names(SAMPLERS)
  columns = ["process", *OF_A_PROCESS, *(f"`{s}`" for s in samplers), "guidance"]
  lines = [columns, ["---"] * len(columns)]
  for label in sorted(labels, key=title):
    process = contract.make(label)
    own = [proof for proof in proofs if row_of(proof.process, labels) == label]
    row = [title(label)]
    for name in OF_A_PROCESS:
      row.append(own_cell(label, [p for p in own if p.property == name]))
    for name in [*samplers, "guidance"]:
      defined = is_guided(process) if name == "guidance" else is_defined(name, process)
      found = [p for p in own if p.sampler and sampler_of(p.sampler)[0] == name]
      row.append(cell(found, defined, in_blocks=label == "block"))
    lines.append(row)
  return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def title(label: str) -> str:
  """`token_blocks` of the contract tests is the process `block` with another block_size."""
  if label not in contract.VARIANTS:
    return f"`{label}`"
  module, fields, _ = contract.VARIANTS[label]
  return f"`{module}`, " + ", ".join(f"{name}: {value}" for name, value in fields.items())


def split(readme: str, begin: str = BEGIN) -> tuple[str, str, str]:
  """What stands before, between and after the two marks."""
  before, rest = readme.split(f"{begin}\n")
  made, _, after = rest.partition(END)
  return before, made, after


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--write", action="store_true", help="put the table into the README")
  proven = collect()
  made = {BEGIN: table(proven.proofs), family_table.BEGIN: family_table.table(proven.openings)}
  if parser.parse_args().write:
    readme = README.read_text(encoding="utf-8")
    for begin, text in made.items():
      before, _, after = split(readme, begin)
      readme = f"{before}{begin}\n{text}\n{END}{after}"
    README.write_text(readme, encoding="utf-8")
  print("\n".join(made.values()))


if __name__ == "__main__":
  main()
