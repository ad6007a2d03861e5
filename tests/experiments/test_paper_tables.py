"""Each recipe of the papers starts; and the tables hold what published.json and the runs say."""

import json

import jax
import numpy as np
import pytest

from dlm_jax import experiment as experiments
from dlm_jax import train
from dlm_jax.core.errors import UserError
from dlm_jax.data.batches import Batches
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.training.step import make_step
from experiments.paper_tables import config, table

REDUCED = {"width": 32, "heads": 2, "depth": 1, "condition_width": 16, "dtype": "float32"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  path = tmp_path_factory.mktemp("corpus") / "text.txt"
  lines = (f"the text of document number {i} is not long at all" for i in range(400))
  path.write_text("\n\n".join(lines), encoding="utf-8")
  return path


def reduced(argument, corpus):
  """The recipe on another corpus, with a small network; all else as it is."""
  made = config.get_config(argument)
  made.data.corpus = {"name": "text_files", "paths": (str(corpus),), "test": 0.2}
  if made.data.packing == "wrapped":
    made.data.tokenizer = {"name": "byte"}
  made.data.update(length=32, directory=str(corpus.parent))
  made.network.update(REDUCED)
  chunks = min(made.training.get("head_chunks", 1), 2)
  made.training.update(batch_size=8, head_chunks=chunks)
  made.optimizer.warmup_steps = 1
  return made.lock()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", config.recipes(), ids="-".join)
def test_every_recipe_starts(recipe, corpus):
  experiment = experiments.build(reduced(",".join(recipe), corpus))
  step = make_step(
    experiment.objective,
    experiment.optimizer,
    experiment.times,
    seed=0,
    ema_decay=experiment.training.ema_decay,
  )
  batches = Batches(experiment.store.rows("train"), 8, seed=0)
  state, jitted = jax.jit(experiment.init_state)(), jax.jit(step)
  for number in range(2):
    state, metrics = jitted(state, batches(number))
    assert np.isfinite(metrics["loss"]) and 0 < metrics["loss"] < 50
  assert int(state.step) == 2 and int(state.skipped) == 0


@pytest.mark.parametrize("recipe", config.recipes(), ids="-".join)
def test_a_recipe_has_the_training_of_its_paper(recipe):
  made = config.get_config(",".join(recipe))
  assert made.data.packing == ("stream" if recipe[1] == "text8" else "wrapped")
  assert (made.network.width, made.training.batch_size) == (768, 512)
  assert made.training.steps == (1_300_000 if recipe[0].startswith("sedd") else 1_000_000)


def test_a_recipe_that_is_not_there_is_named():
  with pytest.raises(ValueError, match=r"no recipe 'md4,owt'.*mdlm,text8"):
    config.get_config("md4,owt")


def test_published_numbers_say_whether_they_bound_and_how_they_were_packed():
  rows = json.loads(table.PUBLISHED.read_text(encoding="utf-8"))["rows"]
  for row in rows:
    assert row["kind"] == ("exact" if row["method"] == "AR" else "bound")
    assert row["packing"] in table.PACKINGS.values() and row["method_paper"]
    assert float(row["value"]) > 1
    assert row["recipe"] is None or (row["recipe"], row["corpus"]) in config.recipes()
  keys = [(row["corpus"], row["packing"], row["method"]) for row in rows]
  assert len(set(keys)) == len(keys)


def test_packings_are_never_in_one_table():
  text = table.tables([])
  packed, unpacked = (text.index(f"### lm1b, {p}") for p in ("packed", "unpacked"))
  assert packed < text.index("≤ 31.78") < unpacked < text.index("≤ 27.04")
  assert "| AR | 1.23 |" in text and "| MDLM | ≤ 1.40 |" in text


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("run") / "mdlm"
  made = reduced("mdlm,text8", corpus).unlock()
  made.training.update(steps=2, evaluate_every=2)
  made.evaluation.update(rows=8, batch_size=8)
  assert train.train(made.lock(), str(workdir)) == 0
  evaluate(EvaluateSettings(workdir=str(workdir), samples=1))
  return workdir


def test_our_number_stands_beside_the_published_one(run, monkeypatch):
  with pytest.raises(UserError, match=r"has data.corpus 'text_files', and the recipe"):
    table.read(f"mdlm,text8={run}")
  original = config.get_config

  def on_files(argument):
    made = original(argument)
    made.data.corpus.name = "text_files"
    return made

  monkeypatch.setattr(config, "get_config", on_files)
  ours = table.read(f"mdlm,text8={run}")
  assert (ours.step, ours.packing, ours.exact) == (2, "stream", False)
  (line,) = [
    line for line in table.tables([ours]).splitlines() if line.startswith("| MDLM | ≤ 1.40")
  ]
  value = ours.results["bits_per_character"]["value"]
  assert f"≤ {value:.4g} ±" in line and "2 of 1,000,000 steps" in line
  monkeypatch.undo()
  with pytest.raises(UserError, match="has process 'absorbing', and the recipe udlm,text8"):
    table.read(f"udlm,text8={run}")


def test_mistakes(tmp_path):
  with pytest.raises(UserError, match="does not begin with a recipe"):
    table.read(f"mdml,text8={tmp_path}")
  with pytest.raises(UserError, match="no evaluation of its test split"):
    table.read(f"mdlm,text8={tmp_path}")
