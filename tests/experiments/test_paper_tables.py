"""Each recipe of the papers starts; and the tables hold what published.json and the runs say."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from dlm_jax import configuration
from dlm_jax import experiment as experiments
from dlm_jax.core.errors import UserError
from dlm_jax.data.batches import Batches
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.runs.workdir import plain
from dlm_jax.training.run import train
from experiments.paper_tables import config, ours, published, rows, table

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
  if made.data.tokenizer.name == "hf":
    made.data.tokenizer = {"name": "byte"}
  made.data.update(length=32, directory=str(corpus.parent))
  made.network.update(REDUCED)
  made.training.batch_size = 8
  made.optimizer.warmup_steps = 1
  return made.lock()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", config.recipes(), ids="-".join)
def test_every_recipe_starts(recipe, corpus):
  experiment = experiments.build(reduced(",".join(recipe), corpus))
  batches = Batches(experiment.store.rows("train"), 8, seed=0)
  with jax.set_mesh(experiment.mesh):
    state, step = jax.jit(experiment.init_state)(), experiment.compile_step()
    for number in range(2):
      state, metrics = step(state, batches(number))
  assert np.isfinite(metrics["loss"]) and metrics["loss"] < 50
  assert metrics["loss"] > 0 or experiment.distillation.teacher  # a student begins as its teacher
  assert int(state.step) == 2 and int(state.skipped) == 0


def test_a_recipe_that_is_not_there_is_named():
  with pytest.raises(ValueError, match=r"no recipe 'md4,lm1b'.*mdlm,text8"):
    config.get_config("md4,lm1b")


def test_published_numbers_say_what_they_are_and_where_they_stand():
  numbers = published.load()
  known = {",".join(recipe) for recipe in config.recipes()}
  for number in numbers:
    assert float(number.value) > 0 and number.source and number.trained_by
    assert number.link.startswith("https://arxiv.org/abs/")
    assert number.recipe in known or number.why_no_recipe, number
    scored = number.kind in (*published.BOUNDS, "exact")
    assert scored == (number.scored is not None) == (number.split is not None)
    assert number.kind != "flow_bound" or number.flow_steps
  keys = [
    (n.source, n.column, n.corpus, n.method, n.steps, n.sampler_steps, n.tokens) for n in numbers
  ]
  assert len(set(keys)) == len(keys)


# What the tables call a packing, by the name it has here.
PACKINGS = {
  "stream": "stream",
  "packed": "wrapped",
  "unpacked": "wrapped_padded",
  "packed without BOS and EOS": "stream",
  "cropped": "cropped",
}


def test_a_number_is_of_the_training_and_the_protocol_of_the_recipe_it_names():
  """Each by the name that its table has for the packing."""
  recipes = {recipe: row for row, recipe in rows.names().items()}
  for number in published.load():
    if number.recipe not in recipes or number.scored is None:
      continue
    stages = rows.stages(recipes[number.recipe], "runs")
    made = stages[-1].config
    assert made.data.packing == PACKINGS[number.packing], number
    assert made.data.length == number.length
    assert (made.data.get("scored") or "all") == number.scored, number
    assert (made.evaluation.get("split") or "test") == number.split or number.trained_on
    assert (made.evaluation.get("bound") == "flow") == (number.kind == "flow_bound")
    assert made.evaluation.get("flow_steps") == number.flow_steps
    steps = sum(stage.config.training.steps for stage in stages)
    assert number.steps in (None, steps), number
    assert number.batch in (None, made.training.batch_size)


def test_the_readme_of_configs_says_which_row_is_which_table():
  text = "\n".join(table.papers())
  readme = (configuration.ROOT / "configs" / "README.md").read_text(encoding="utf-8")
  assert text in readme, f"the list of configs/README.md is to be:\n\n{text}"


def test_a_number_keeps_its_sign_and_what_differs_its_table():
  by_table = {}
  for number in published.load():
    if number.trained_on is None:
      by_table.setdefault(number.column, {})[number.method] = number.text
  packed, unpacked = (
    by_table["lm1b", packing, "rows of 128", "test split", "perplexity"]
    for packing in ("packed", "unpacked")
  )
  assert packed["MDLM"] == "≤ 31.0" and packed["AR"] == "22.83"
  assert unpacked["Duo"] == "≤ 29.9"
  assert "≤ 76.9 ± 2.3" not in packed.values()


@pytest.mark.parametrize("row", ["ar_lm1b", "mdlm_owt"])
def test_a_row_has_its_cost_and_its_commands(row, capsys):
  assert table.main(table.TableSettings(row=row, dry_run=True, runs="there")) == 0
  text = capsys.readouterr().out
  method, corpus = row.split("_")
  name = f"experiments/paper_tables/config.py:{method},{corpus}"
  assert f"1. python -m dlm_jax.train --config={name} --workdir=there/{row}\n" in text
  assert f"2. python -m dlm_jax.evaluate --workdir=there/{row}\n" in text
  (stage,) = rows.stages(row, "there")
  steps, tokens = stage.config.training.steps, stage.cost.tokens
  assert tokens == steps * 512 * stage.config.data.length and f"{steps:,} steps of 512" in text
  hours = stage.cost.flops / (0.4 * 8 * 989e12 * 3600)
  assert stage.cost.hours("8xH100") == pytest.approx(hours)
  # Six FLOPs for a weight and a token, but for the embedding, whose rows are looked up.
  weights = stage.cost.parameters - rows.vocab_size(stage.config) * 768
  assert stage.cost.flops / tokens == pytest.approx(6 * weights, rel=0.35)


def two_stages(monkeypatch, **fields):
  """`udlm,text8` starts from the run of `mdlm,text8`, with other fields than its own."""
  original = config.get_config

  def changed(argument):
    made = original(argument)
    if argument == "udlm,text8":
      made.network = original("mdlm,text8").network
      made.training.weights = "elsewhere/mdlm_text8"
      made.process = {"name": "absorbing"}
      for name, value in fields.items():
        section, field = name.split("__")
        made[section][field] = value
    return made

  load = configuration.load
  path = f"{rows.CONFIG}:"
  monkeypatch.setattr(
    configuration,
    "load",
    lambda file, given: (
      configuration.override(changed(file.removeprefix(path)), given)
      if file.startswith(path)
      else load(file, given)
    ),
  )


def test_a_row_that_starts_from_another_has_its_stages(monkeypatch, capsys):
  two_stages(monkeypatch)
  assert table.main(table.TableSettings(row="udlm_text8", dry_run=True)) == 0
  text = capsys.readouterr().out
  assert "1. python -m dlm_jax.train" in text and "--workdir=runs/mdlm_text8\n" in text
  assert "--workdir=runs/udlm_text8 --config.training.weights=runs/mdlm_text8\n" in text
  assert "3. python -m dlm_jax.evaluate --workdir=runs/udlm_text8" in text


@pytest.mark.parametrize("stopped_at", [None, 1, 2])
def test_a_row_is_run_stage_by_stage_until_one_is_stopped(stopped_at, monkeypatch, tmp_path):
  done = []

  def train_stage(made, workdir):
    done.append(workdir)
    return 75 if len(done) == stopped_at else 0

  monkeypatch.setattr(table, "train", train_stage)
  monkeypatch.setattr(table, "evaluate", lambda settings: done.append(f"score {settings.workdir}"))
  code = table.main(table.TableSettings(row="bd3lm_lm1b_4", runs=str(tmp_path)))
  first, last = (f"{tmp_path}/{row}" for row in ("bd3lm_first_lm1b", "bd3lm_lm1b_4"))
  assert done == [first, last, f"score {last}"][: stopped_at or 3]
  assert code == (75 if stopped_at else 0)


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"training__weights": "runs/mine"}, "starts from the run runs/mine, and its last part is no"),
    ({"network__width": 384}, "network of training.weights mdlm_text8 has width 768"),
    ({"data__corpus": {"name": "hf_dataset", "dataset": "a", "held_out": 9}}, "scores the test"),
    ({"data__corpus": {"name": "hf_dataset", "dataset": "a"}}, "needs a validation split"),
  ],
)
def test_a_row_that_cannot_run_is_refused_before_it_does(fields, sentence, monkeypatch):
  two_stages(monkeypatch, **fields)
  with pytest.raises(UserError, match=sentence):
    table.main(table.TableSettings(row="udlm_text8", dry_run=True))


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
  directory = tmp_path_factory.mktemp("runs")
  workdir = str(directory / "mdlm_text8")
  made = reduced("mdlm,text8", corpus).unlock()
  made.training.update(steps=2, evaluate_every=2)
  made.evaluation.update(rows=8, batch_size=8)
  assert train(made.lock(), workdir) == 0
  evaluate(EvaluateSettings(workdir=workdir, samples=1))
  return directory


def test_our_number_stands_beside_the_published_one_with_what_differs(runs, monkeypatch):
  (found,) = ours.read_all(str(runs))
  assert (found.row, found.kind, found.split, found.step) == ("mdlm_text8", "nelbo", "test", 2)
  assert "data.corpus.name" in found.differs and "training.batch_size" in found.differs
  (number,) = (n for n in published.load() if (n.corpus, n.method) == ("text8", "MDLM"))
  value = found.results["bits_per_character"]["value"]
  text = ours.text(number, [found])
  assert text.startswith(f"≤ {value:.4g} ±") and "(2 of 1,000,000 steps; differs in" in text
  for other in ({"kind": "flow_bound"}, {"split": "validation"}, {"recipe": "ar,text8"}):
    assert ours.text(dataclasses.replace(number, **other), [found]) == ""
  monkeypatch.setattr(config, "METHODS", {"mdlm": "mdlm"})
  monkeypatch.setattr(config, "ON", {"mdlm": ("text8",)})
  assert text in "\n".join(table.tables(str(runs)))


def test_judged_samples_stand_beside_those_that_were_drawn_alike(tmp_path):
  sampling = {"sampler": "remdm", "sampler_settings": {"preset": "forward_backward"}}
  settings = {**sampling, "steps": 1024, "top_p": 0.9, "length": None}
  record = {
    "results": {"judge_perplexity_over_tokens": {"value": 31.0, "low": 30.0, "high": 32.0}},
    "mauve": {"value": 0.2},
    "protocol": {
      "settings": settings,
      "judge": {"name": "gpt2-large"},
      "sequences": 5000,
      "step": 1_000_000,
      "environment": {"date": "today"},
      "config": plain(config.get_config("mdlm,owt")),
    },
  }
  (tmp_path / "mdlm_owt").mkdir()
  (tmp_path / "mdlm_owt" / "text.judged.json").write_text(json.dumps(record), encoding="utf-8")
  found = ours.read_all(str(tmp_path))
  beside = {n: ours.text(n, found) for n in published.load() if ours.text(n, found)}
  (number,) = beside
  assert (number.method, number.sampler_steps, number.metric) == ("forward-backward", 1024, "mauve")
  drawn = "5000 sequences, remdm preset=forward_backward, 1024 sampling steps"
  assert beside[number] == f"0.2 (1,000,000 of 1,000,000 steps; {drawn})"
  perplexity = {"kind": "gen_ppl", "metric": "generative_perplexity", "judge": "gpt2-large"}
  text = ours.text(dataclasses.replace(number, **perplexity), found)
  assert text.startswith("31 [30, 32] (1,000,000")
  for other in ({"top_p": None}, {"sampler_steps": 512}, {"length": 2048}, {"samplers": ()}):
    assert ours.text(dataclasses.replace(number, **other), found) == ""


def test_mistakes():
  with pytest.raises(UserError, match="no row 'mdml_text8': did you mean 'mdlm_text8'"):
    table.main(table.TableSettings(row="mdml_text8"))
  with pytest.raises(UserError, match="give one with --row"):
    table.main(table.TableSettings(dry_run=True))
