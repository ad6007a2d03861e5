"""The README says what the tests prove, and no more."""

import subprocess
import sys

import pytest

from dlm_jax.core import resolve
from dlm_jax.processes import absorbing, autoregressive, uniform
from tests import family_table, support_table
from tests.support_table import Proof


@pytest.mark.slow
def test_the_readme_is_current():
  """If it is not: python -m tests.support_table --write."""
  command = [sys.executable, "-m", "tests.support_table"]
  done = subprocess.run(command, cwd=support_table.ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  readme = support_table.README.read_text(encoding="utf-8")
  marks = (support_table.BEGIN, family_table.BEGIN)
  assert "".join(support_table.split(readme, mark)[1] for mark in marks) == done.stdout


def test_a_pair_is_defined_if_the_sampler_takes_it():
  masked, replaced = absorbing.make(vocab_size=3), uniform.make(vocab_size=3)
  assert support_table.is_defined("first_hitting", masked)
  assert not support_table.is_defined("first_hitting", replaced)
  assert support_table.is_defined("psi", replaced)
  assert support_table.is_guided(masked) and support_table.is_guided(replaced)
  assert not support_table.is_guided(autoregressive.make(vocab_size=3))


def test_the_row_of_blocks_names_the_inner_processes():
  proofs = [Proof("bound", name) for name in ("block", "blocks_of_uniform", "blocks_of_duo")]
  assert support_table.own_cell("block", proofs) == "yes (absorbing, duo, uniform)"
  assert support_table.own_cell("block", []) == ""
  laws = [Proof("law", f"blocks_of_{inner}", "remdm_cap") for inner in ("absorbing", "uniform")]
  (row,) = (row for row in support_table.table(laws).splitlines() if row.startswith("| `block` |"))
  assert "| law (absorbing, uniform) |" in row


def test_a_cell_tells_what_is_proven_from_what_is_defined():
  law = [Proof("law", "absorbing", f"remdm_{strategy}") for strategy in ("cap", "loop", "cap")]
  prompt = [Proof("prompt", "absorbing", "remdm")]
  assert support_table.cell(law + prompt, defined=True) == "law (cap, loop), prompt"
  assert support_table.cell([*law, Proof("law", "absorbing", "remdm")], defined=True) == "law"
  assert support_table.cell([], defined=True) == "defined"
  assert support_table.cell(law, defined=False) == "–"


def test_a_row_for_each_process_and_a_column_for_each_sampler():
  made = support_table.table([Proof("bound", "uniform"), Proof("law", "uniform", "psi")])
  header, _, *rows = ([c.strip() for c in line.split("|")[1:-1]] for line in made.splitlines())
  assert set(resolve.names("dlm_jax.processes")) <= {row[0].split("`")[1] for row in rows}
  assert {f"`{name}`" for name in resolve.names("dlm_jax.samplers")} <= set(header)
  of_uniform = next(dict(zip(header, row, strict=True)) for row in rows if row[0] == "`uniform`")
  assert of_uniform["bound"] == "yes" and of_uniform["golden"] == ""
  assert (of_uniform["`psi`"], of_uniform["`euler`"], of_uniform["`remdm`"]) == (
    "law",
    "defined",
    "–",
  )


@pytest.mark.parametrize("proof", [Proof("law", "unifrom", "psi"), Proof("law", "uniform", "psy")])
def test_a_proof_of_nothing_is_an_error(proof):
  with pytest.raises(ValueError, match="a test proves something of"):
    support_table.table([proof])
