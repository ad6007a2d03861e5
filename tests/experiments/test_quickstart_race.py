"""The race of the quickstart: every entry is a config that builds, and the table is in order."""

import json

import pytest

from dlm_jax import experiment
from dlm_jax.core.errors import UserError
from experiments.quickstart_race import run
from experiments.quickstart_race.entries import ENTRIES


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_build(entry):
  config = run.config_of(entry, run.RaceSettings(seed=3))
  built = experiment.build(config, vocab_size=27)
  assert (config.seed, built.network.width) == (3, ENTRIES[entry].get("network.width", 128))


def test_an_unknown_entry():
  with pytest.raises(UserError, match="entry 'quick'"):
    run.config_of("quick", run.RaceSettings())


def test_the_command_keeps_what_was_measured_before(monkeypatch, tmp_path, capsys):
  one = {"seconds": 1.0, "steps": 2, "parameters": 1000, "changed": {}, "bits_per_character": 2.5}
  monkeypatch.setattr(run, "race", lambda entry, settings: (dict(one), "of the data"))
  monkeypatch.setattr(run, "RESULTS", tmp_path / "results.json")
  for entry in ("quickstart", "swiglu"):
    run.main(run.RaceSettings(entries=(entry,)))
  results = json.loads(run.RESULTS.read_text())["results"]
  assert [*results] == ["quickstart", "swiglu"]
  assert results["swiglu"]["environment"]["dataset_hash"] == "of the data"
  run.main(run.RaceSettings(table=True))
  assert "| `swiglu` | 2.500 |" in capsys.readouterr().out.rpartition("|---|")[2]


def test_the_table_is_the_best_first():
  one = {"seconds": 1.0, "steps": 2, "parameters": 1000, "changed": {"network.heads": 2}}
  results = {"b": one | {"bits_per_character": 2.5}, "a": one | {"bits_per_character": 2.4}}
  assert run.table(results).splitlines()[2:] == [
    "| `a` | 2.400 | 1 | 2 | 1,000 | `network.heads=2` |",
    "| `b` | 2.500 | 1 | 2 | 1,000 | `network.heads=2` |",
  ]
