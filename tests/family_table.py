"""Family of checkpoints x proven property: a table of the README, made from the tests.

What is proven is read from the tests that say so of a fixture of `tests/interop/fixtures/`:

  @pytest.mark.opens("parity", "{name}")

`{name}` is the test's parameter of that name. A test that makes its checkpoint names the family.
"""

import ast
import json
from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.interop import family
from tests.interop.parity import FIXTURES

BEGIN = "<!-- families, made by: python -m tests.support_table --write -->"
PROPERTIES = ("parity", "sample", "bound", "export", "resume")


@dataclass(frozen=True)
class Opening:
  """A test shows `property` of a checkpoint: a fixture, or the name of a family."""

  property: str
  checkpoint: str


def table(openings: list[Opening]) -> str:
  """The table in Markdown: a row for each family, in what it is called there."""
  shown = {(family_of(found.checkpoint), found.property) for found in openings}
  lines = [["family", "what it is", *PROPERTIES], ["---"] * (2 + len(PROPERTIES))]
  for name in family.names():
    cells = ["yes" if (name, found) in shown else "" for found in PROPERTIES]
    lines.append([f"`{name}`", title(name), *cells])
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def family_of(checkpoint: str) -> str:
  """The family of a fixture; that of the name itself where it is one."""
  if checkpoint in family.names():
    return checkpoint
  path = FIXTURES / checkpoint / "config.json"
  return family.recognise(json.loads(path.read_text(encoding="utf-8")), str(path)).name


def title(name: str) -> str:
  """The first sentence of the docstring of a family, as far as a colon or a full stop."""
  docstring = ast.get_docstring(resolve.source(family.PACKAGE, name)) or ""
  return docstring.splitlines()[0].partition(":")[0].rstrip(".")
