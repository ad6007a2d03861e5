import io
import json
import math

import pytest
from rich.console import Console

from dlm_jax import evaluate
from dlm_jax.core.errors import UserError
from dlm_jax.evaluation import likelihood
from tests.evaluation import tiny


@pytest.fixture
def settings(tmp_path, monkeypatch):
  monkeypatch.setattr(evaluate.experiments, "restore", lambda *_, **__: tiny.restored())
  return lambda **fields: evaluate.Settings(workdir=str(tmp_path), **{"samples": 2} | fields)


def test_the_record_holds_the_bound_and_what_it_depends_on(settings, tmp_path):
  record = evaluate.evaluate(settings(seed=3))
  (path,) = (tmp_path / "evaluations").iterdir()
  assert path.name == "step7-test-ema-samples2-seed3.json"
  assert json.loads(path.read_text()) == json.loads(json.dumps(record))

  results, bound = record["results"], record["bound"]
  nats = results["nats_per_token"]["value"]
  assert nats == bound["nats_per_token"] and bound["tokens"] == tiny.ROWS * tiny.LENGTH
  assert results["bits_per_character"]["value"] == pytest.approx(nats / math.log(2) / 2)
  assert results["perplexity"]["value"] == pytest.approx(math.exp(nats))

  protocol = record["protocol"]
  assert protocol["times"]["epsilon"] == 0 and protocol["network_evaluations_per_sequence"] == 2
  assert (protocol["seed"], protocol["step"], protocol["weights"]) == (3, 7, "ema")
  assert (protocol["split"], protocol["packing"], protocol["dtype"]) == (
    "test",
    "stream",
    "float32",
  )
  assert protocol["trained_at_git_revision"] == "of the training"
  assert protocol["environment"]["dataset_hash"] == "of the data"
  assert {"git_revision", "versions", "device_kind"} <= protocol["environment"].keys()
  assert protocol["config"]["process"] == {"name": "absorbing"}


def test_an_untrained_model_knows_the_size_of_its_vocabulary(settings):
  result = evaluate.evaluate(settings(samples=64))["results"]["nats_per_token"]
  assert abs(result["value"] - math.log(27)) < 4 * result["standard_error"]


def test_padding_is_not_scored(settings):
  record = evaluate.evaluate(settings(split="validation"))
  assert record["bound"]["tokens"] == tiny.ROWS * tiny.LENGTH // 2


def test_results_of_other_settings_stay(settings, tmp_path):
  evaluate.evaluate(settings())
  for other in ({"samples": 1}, {"seed": 1}, {"split": "validation"}, {"weights": "raw"}):
    evaluate.evaluate(settings(**other))
  assert len(list((tmp_path / "evaluations").iterdir())) == 5


def test_the_table_says_that_it_is_a_bound():
  bound = likelihood.Bound(1.23456, 0.0123, 10, 100, 4)
  record = {
    "results": evaluate.results(bound, 1.0),
    "protocol": {"split": "test", "step": 7, "weights": "ema"},
  }
  console = Console(file=io.StringIO(), width=80)
  console.print(evaluate.table(record))
  shown = console.file.getvalue()
  for part in ("test split, step 7, ema weights", "upper bound", "nats / token", "1.235", "0.012"):
    assert part in shown


def test_mistakes(settings):
  with pytest.raises(UserError, match="samples must be at least 1, got 0"):
    evaluate.evaluate(settings(samples=0))


def test_the_record_shows_the_loss_against_time_and_position(settings):
  record = evaluate.evaluate(settings(samples=8))
  nats = record["bound"]["nats_per_token"]
  assert sum(row["draws"] for row in record["by_time"]) == 8 * tiny.ROWS
  profile = [row["nats"] for row in record["by_position"]]
  assert len(profile) == tiny.LENGTH and sum(profile) / len(profile) == pytest.approx(nats)


def test_zero_shot_names_its_protocol_and_does_not_overwrite_the_split(settings, tmp_path):
  other = tmp_path / "other.txt"
  other.write_text("some other words of no great meaning " * 4, encoding="utf-8")
  evaluate.evaluate(settings())
  record = evaluate.evaluate(settings(corpus=str(other)))
  protocol = record["protocol"]
  assert protocol["split"] is None and protocol["zero_shot"]["corpus"]["name"] == "text_files"
  assert record["bound"]["tokens"] == protocol["zero_shot"]["counts"]["tokens"] == 144
  bits = record["results"]["bits_per_character"]["value"]
  assert bits == pytest.approx(record["bound"]["nats_per_token"] / math.log(2))
  evaluate.evaluate(settings(times="quadrature"))
  assert len(list((tmp_path / "evaluations").iterdir())) == 3
  with pytest.raises(UserError, match="did you mean 'quadrature'"):
    evaluate.Settings(str(tmp_path), times="quadratur")
