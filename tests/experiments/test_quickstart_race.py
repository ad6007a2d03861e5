"""The race of the quickstart, and its sampler: all entries build, and the tables are in order."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dlm_jax import experiment
from dlm_jax.core.errors import UserError
from dlm_jax.generation.draw import draw
from dlm_jax.generation.draw_settings import DrawSettings
from experiments.quickstart_race import run, sampling
from experiments.quickstart_race.entries import ENTRIES
from tests import tiny


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


@pytest.mark.parametrize("choice", sampling.CHOICES, ids=sampling.described)
def test_settings_of_the_sampler_are_known(choice):
  DrawSettings(**choice)


@pytest.mark.slow
def test_texts_of_each_choice_are_judged_beside_real_text(monkeypatch):
  """Each text is what the sampler draws alone; the judge's likeliest are first."""
  models = {"masked": tiny.model(), "judge": tiny.model("autoregressive")}
  real = np.tile(np.arange(16) % 4, (6, 1))
  store = SimpleNamespace(
    tokenizer=models["judge"].tokenizer,
    rows=lambda _: np.array([(row,) for row in real], dtype=[("tokens", "i4", 16)]),
    num_rows=lambda _: 6,
  )
  monkeypatch.setattr(sampling, "load", models.get)
  monkeypatch.setattr(sampling, "training_data", lambda _: store)
  monkeypatch.setattr(sampling.assess, "vocabulary", lambda _: {"b"})
  choices = ({"steps": 4}, {"steps": 8, "sampler": "remdm", "sampler_settings": {"eta": 0.05}})
  monkeypatch.setattr(sampling, "CHOICES", choices)
  settings = sampling.SamplingSettings(workdir="masked", judge="judge", num=5)
  record = json.loads(json.dumps(sampling.sweep(settings)))
  assert [row["evaluations"] for row in record["results"]] == [4, 8]
  alone = draw(DrawSettings(num=1, **choices[1]), models["masked"]).tokens[0]
  assert record["results"][1]["text"] == store.tokenizer.decode(alone)
  assert record["reference"]["entropy_nats"][0] == pytest.approx(np.log(4))
  for row, bits in zip(record["results"], (3.0, 2.0), strict=True):
    row["judge_bits_per_character"][0] = bits
  lines = sampling.table(record).splitlines()
  assert lines[2].startswith("| real text |  | ")
  assert lines[3].startswith("| `--steps=8 --sampler=remdm --sampler.eta=0.05` | 8 | 2.00 ")
  assert lines[4].startswith("| `--steps=4` | 4 | 3.00 ")
