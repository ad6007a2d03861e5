"""The README says what the tests prove, and no more."""

import re
import subprocess
import sys

import jax
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, autoregressive, uniform
from tests import support_table
from tests.contract import test_processes as contract
from tests.support_table import Proof


@pytest.mark.slow
def test_the_readme_is_current():
  """If it is not: python -m tests.support_table --write."""
  command = [sys.executable, "-m", "tests.support_table"]
  done = subprocess.run(command, cwd=support_table.ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  _, written, _ = support_table.split(support_table.README.read_text(encoding="utf-8"))
  assert written == done.stdout


def test_a_pair_is_defined_if_the_sampler_takes_it():
  masked, replaced = absorbing.make(vocab_size=3), uniform.make(vocab_size=3)
  assert support_table.is_defined("first_hitting", masked)
  assert not support_table.is_defined("first_hitting", replaced)
  assert support_table.is_defined("psi", replaced)
  assert support_table.is_guided(masked) and support_table.is_guided(replaced)
  assert not support_table.is_guided(autoregressive.make(vocab_size=3))


@pytest.mark.parametrize("sampler", resolve.names(support_table.SAMPLERS, entry="sample"))
def test_a_refusal_names_what_is_defined(sampler):
  """Processes that the sampler takes, or a sampler that takes the process."""
  processes = {name: contract.make(name) for name in resolve.names(contract.PACKAGE)}
  samplers = set(resolve.names(support_table.SAMPLERS, entry="sample"))
  sample = resolve.module(support_table.SAMPLERS, sampler, entry="sample").sample
  for process in processes.values():
    if not support_table.is_defined(sampler, process):
      with pytest.raises(UserError, match="is not defined for the process") as refusal:
        sample(jax.random.key(0), process, None, (1, 3), steps=1)
      named = set(re.findall(r"\w+", str(refusal.value).partition(": ")[2]))
      assert named & (set(processes) | samplers)
      assert all(support_table.is_defined(sampler, processes[n]) for n in named & set(processes))
      assert all(support_table.is_defined(name, process) for name in named & samplers)


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
  assert {f"`{name}`" for name in resolve.names("dlm_jax.samplers", "sample")} <= set(header)
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
