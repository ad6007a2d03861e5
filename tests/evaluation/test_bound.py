"""The record of an evaluation: the bound, and all that it depends on."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from dlm_jax.core.errors import UserError
from dlm_jax.core.records import sign
from dlm_jax.data.positions import TEXT, ScoredPositions
from dlm_jax.data.store import Rows
from dlm_jax.evaluation import bound, bound_table, likelihood
from dlm_jax.evaluation.bound import EvaluateSettings, ScoredText, evaluate
from dlm_jax.evaluation.estimates import Bound
from dlm_jax.model.model import load, training_data
from tests import tiny

ROWS, LENGTH = 10, 16


def settings(workdir="nowhere", **fields):
  small = bound.DEFAULTS | {"samples": 2, "batch_size": 4}
  return EvaluateSettings(workdir=str(workdir), **small | fields)


def untrained(lengths=None, positions=TEXT, **fields):
  """The record of an untrained model on letters; rows are padded from `lengths` on."""
  tokens = np.random.default_rng(0).integers(1, 27, (ROWS, LENGTH), dtype=np.int32)
  lengths = None if lengths is None else np.full(ROWS, lengths)
  text = ScoredText(Rows(tokens, lengths, positions=positions), 2.0, None)
  return bound.score(settings(**fields), tiny.model(), text)


def test_the_record_holds_the_bound_and_what_it_depends_on(runs):
  workdir = runs / "absorbing"
  record = evaluate(settings(workdir, seed=3, rows=6))
  path = workdir / "evaluations" / "step4-test-ema-samples2-seed3-rows6.json"
  assert json.loads(path.read_text()) == json.loads(json.dumps(record))
  assert not path.with_suffix(".jsonl").exists()  # what was kept until then

  results, found = record["results"], record["bound"]
  nats = results["nats_per_token"]["value"]
  assert nats == found["nats_per_token"] and found["tokens"] == 6 * LENGTH
  assert results["perplexity"]["value"] == pytest.approx(math.exp(nats))

  by_cluster = record["by_cluster"]
  assert len(by_cluster) == found["clusters"] == 6  # so few rows are a cluster each
  assert sum(row["nats"] for row in by_cluster) / found["tokens"] == pytest.approx(nats)
  assert sum(row["tokens"] for row in by_cluster) == found["tokens"]

  protocol = record["protocol"]
  assert protocol["standard_error"] == "over 6 rows"
  assert protocol["quantity"] == "upper bound on the negative log-likelihood"
  assert protocol["times"]["epsilon"] == 0 and protocol["network_evaluations_per_sequence"] == 2
  assert (protocol["seed"], protocol["step"], protocol["weights"]) == (3, 4, "ema")
  expected = ("test", "stream", "float32")
  assert (protocol["split"], protocol["packing"], protocol["dtype"]) == expected
  store = training_data(load(str(workdir)))
  assert protocol["environment"]["dataset_hash"] == store.hash
  assert {"git_revision", "versions", "device_kind"} <= protocol["environment"].keys()
  assert protocol["config"]["process"]["name"] == "absorbing"


def test_the_bound_is_that_of_the_weights_and_the_step_that_were_named(runs):
  workdir = runs / "absorbing"
  rows = training_data(load(str(workdir))).rows("test")[:4]
  values = set()
  for weights in ("ema", "raw"):
    for step in (2, 4):
      record = evaluate(settings(workdir, weights=weights, step=step, rows=4))
      model = load(str(workdir), step=step, weights=weights)
      scoring = likelihood.Scoring(batch_size=4, samples=2, mesh=model.mesh)
      draw = likelihood.drawer(model.evaluation_process, model.denoiser, scoring)
      chosen = training_data(model).rows("test")[
        np.linspace(0, len(training_data(model).rows("test")) - 1, 4).astype(int)
      ]
      expected = draw(model.params, chosen["tokens"]).bound.nats_per_token
      assert record["bound"]["nats_per_token"] == pytest.approx(expected, rel=1e-6)
      values.add(record["bound"]["nats_per_token"])
  assert len(values) == 4 and len(rows["tokens"]) == 4


@pytest.mark.parametrize(
  "change", [{"seed": 1}, {"samples": 3}, {"split": "train"}, {"times": "independent"}, {"rows": 5}]
)
def test_a_file_of_another_evaluation_that_was_stopped_is_not_gone_on_from(change, tmp_path):
  text = ScoredText(Rows(np.zeros((2, LENGTH), np.int32), None), 2.0, None)
  output = str(tmp_path / "record.json")
  stopped, again, other = (
    bound._journal(settings(output=output, **fields), tiny.model(), text)
    for fields in ({}, {}, change)
  )
  stopped.write("bound", {}, 0, 0.5)
  assert list(again.read("bound", {})) == [(0, 0.5)]
  assert list(other.read("bound", {})) == []


def test_an_untrained_model_gives_the_size_of_its_vocabulary():
  result = untrained(samples=64)["results"]["nats_per_token"]
  assert abs(result["value"] - math.log(27)) < 4 * result["standard_error"]


def test_a_bound_that_is_not_a_number_names_the_weights():
  tokens = np.ones((ROWS, LENGTH), np.int32)
  with pytest.raises(UserError, match="the ema weights of step 7 of the run nowhere give a bound"):
    bound.score(settings(), tiny.diverged(tiny.model()), ScoredText(Rows(tokens, None), 2.0, None))


def test_padding_is_not_scored_and_characters_are_counted():
  record = untrained(lengths=LENGTH // 2)
  assert record["protocol"]["standard_error"] == "over 10 documents, a row each"
  assert record["bound"]["tokens"] == ROWS * LENGTH // 2
  nats = record["results"]["nats_per_token"]["value"]
  assert record["results"]["bits_per_character"]["value"] == pytest.approx(nats / math.log(2) / 2)


def test_the_record_says_which_positions_were_scored():
  whole = untrained(lengths=LENGTH // 2)["protocol"]
  assert (whole["scored"], whole["padding"]) == ("all", "ignored")
  assert untrained()["protocol"]["padding"] is None
  noised = ScoredPositions("after_first", "noised_unscored")
  record = untrained(lengths=LENGTH // 2, positions=noised)
  assert record["bound"]["tokens"] == ROWS * (LENGTH // 2 - 1)
  assert [row["position"] for row in record["by_position"]] == [*range(1, LENGTH // 2)]
  protocol = record["protocol"]
  assert (protocol["scored"], protocol["padding"]) == ("after_first", "noised_unscored")
  assert protocol["quantity"].startswith("share of the text") and sign(protocol) == "≈ "
  assert sign(whole) == "≤ "
  with pytest.raises(UserError, match="probability flow bounds whole rows"):
    untrained(lengths=8, positions=noised, bound="flow")


def test_what_a_command_leaves_open_is_as_the_config_of_the_run_says():
  model = tiny.model()
  chosen = bound.complete(EvaluateSettings(workdir="nowhere"), model)
  assert {name: vars(chosen)[name] for name in bound.DEFAULTS} == bound.DEFAULTS
  assert chosen.scored == "all"
  protocol = {"split": "validation", "bound": "flow", "flow_steps": 128}
  config = model.provenance.config | {"evaluation": protocol}
  changed = dataclasses.replace(
    model,
    positions=ScoredPositions("after_first"),
    provenance=dataclasses.replace(model.provenance, config=config),
  )
  chosen = bound.complete(EvaluateSettings(workdir="nowhere"), changed)
  assert {name: vars(chosen)[name] for name in protocol} == protocol
  assert chosen.scored == "after_first"
  chosen = bound.complete(EvaluateSettings(workdir="nowhere", split="test", scored="all"), changed)
  assert (chosen.split, chosen.bound, chosen.scored) == ("test", "flow", "all")


def test_records_of_other_settings_have_other_names():
  others = ({}, {"samples": 1}, {"seed": 1}, {"split": "validation"})
  others += ({"times": "quadrature"}, {"bound": "flow"}, {"labels": False}, {"corpus": "a.txt"})
  others += ({"scored": "after_first"},)
  names = {bound.record_name(settings(**fields), 7, "ema") for fields in others}
  names.add(bound.record_name(settings(), 7, "published"))
  assert len(names) == len(others) + 1


def test_the_record_shows_the_loss_against_time_and_position():
  record = untrained(samples=8)
  nats = record["bound"]["nats_per_token"]
  assert sum(row["draws"] for row in record["by_time"]) == 8 * ROWS
  profile = [row["nats"] for row in record["by_position"]]
  assert len(profile) == LENGTH and sum(profile) / len(profile) == pytest.approx(nats)


def test_the_table_says_that_it_is_a_bound():
  found = Bound(1.23456, 0.0123, 10, 100, 4, 10)
  record = {
    "results": bound.results(found, 1.0),
    "protocol": {"split": "test", "step": 7, "weights": "ema"},
  }
  # A perplexity beyond float64.
  record["results"]["perplexity"] = {"value": math.inf, "standard_error": math.inf}
  console = Console(file=io.StringIO(), width=80)
  console.print(bound_table.table(record))
  shown = console.file.getvalue()
  for part in ("test split, step 7, ema weights", "upper bound", "nats / token", "1.235", "0.012"):
    assert part in shown


def test_zero_shot_names_its_protocol_and_does_not_overwrite_the_split(runs, tmp_path):
  workdir, other = runs / "absorbing", tmp_path / "other.txt"
  other.write_text("abca bcab ddea " * 10, encoding="utf-8")
  record = evaluate(settings(workdir, corpus=str(other)))
  protocol = record["protocol"]
  assert protocol["split"] is None and protocol["zero_shot"]["corpus"]["name"] == "text_files"
  assert record["bound"]["tokens"] == protocol["zero_shot"]["counts"]["tokens"] == 144
  bits = record["results"]["bits_per_character"]["value"]
  assert bits == pytest.approx(record["bound"]["nats_per_token"] / math.log(2))
  assert list((workdir / "evaluations").glob("*zero_shot_other_*.json"))


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"samples": 0}, "--samples must be at least 1, got 0"),
    ({"rows": 1}, "--rows must be at least 2, got 1"),
    ({"times": "quadratur"}, "did you mean 'quadrature'"),
  ],
)
def test_mistakes(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    settings(**fields)


def test_labels_of_text_without_labels_cannot_be_left_out(runs):
  with pytest.raises(UserError, match="--nolabels needs a model of labelled text"):
    evaluate(settings(runs / "absorbing", labels=False))
