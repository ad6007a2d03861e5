"""The tables of the README are those of the records beside it, and every arm is a config."""

import dataclasses
import itertools
import json
import string
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dlm_jax import experiment
from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora.synthetic_any_order import SyntheticAnyOrder
from dlm_jax.data.tokenizers import character, letters
from experiments.where_it_pays import any_order, infilling, run, speed, sudoku
from experiments.where_it_pays.intervals import interval
from experiments.where_it_pays.lab import FAST, Scale, jobs, shared_run
from experiments.where_it_pays.run import FINDINGS, HERE
from tests import tiny

RECORDS = [name for name in FINDINGS if (HERE / f"{name}.json").exists()]


@pytest.mark.parametrize("name", RECORDS)
def test_the_tables_are_made_from_the_records(name):
  record = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
  table = FINDINGS[name].table(record["results"]["rows"])
  assert table in (HERE / "README.md").read_text(encoding="utf-8")
  assert record["protocol"]["command"].startswith("python -m experiments.where_it_pays.run")


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize("name", FINDINGS)
def test_arms_differ_in_what_they_say_and_build(name, is_fast, tmp_path):
  # The rows of the tests' eight devices.
  scale = FAST if is_fast else dataclasses.replace(FINDINGS[name].scale, rows=FAST.rows)
  wanted = jobs(FINDINGS[name], scale, tmp_path)
  configs = {job.arm: job.config for job in wanted}
  assert len(
    {json.dumps(c.to_dict(), sort_keys=True, default=str) for c in configs.values()}
  ) == len(FINDINGS[name].arms)
  for config in configs.values():
    experiment.build(config, vocab_size=24)
    assert (config.network.width, config.network.depth) == (scale.width, scale.depth)


def test_speed_is_that_of_the_runs_of_sudoku(tmp_path):
  trained = {job.run: job.config for job in jobs(FINDINGS["sudoku"], sudoku.SCALE, tmp_path)}
  timed = jobs(FINDINGS["speed"], FINDINGS["speed"].scale, tmp_path)
  assert {job.arm for job in timed if job.run not in trained} == {speed.STUDENT}
  for job in timed:
    if job.run in trained:
      assert job.config == trained[job.run]


@pytest.mark.parametrize("arm", sudoku.METHODS)
def test_rows_of_sudoku_are_as_long_as_the_config_says(arm, tmp_path):
  (job, *_) = [j for j in jobs(FINDINGS["sudoku"], sudoku.SCALE, tmp_path) if j.arm == arm]
  fields = {"train_pairs": 1, "validation_pairs": 1, "test_pairs": 1}
  corpus = resolve.make("dlm_jax.data.corpora", {**job.config.data.corpus.to_dict(), **fields})
  ((prompt, answer),) = corpus.pairs("test")
  assert len(prompt + answer) == job.config.data.length == job.config.network.learned_positions


def test_a_job_that_is_done_is_not_done_again(tmp_path, monkeypatch):
  job = jobs(FINDINGS["planning"], FAST, tmp_path)[0]
  job.rows.parent.mkdir()
  kept = {"scale": vars(FAST), "rows": [], "environment": {}}
  job.rows.write_text(json.dumps(kept))
  monkeypatch.setattr("experiments.where_it_pays.lab.train", None)
  assert job.do() == 0 and job.result() == kept
  more = dataclasses.replace(job, scale=dataclasses.replace(FAST, seeds=5))
  assert more.result() == kept  # further seeds leave the first as they are
  (other,) = (j for j in jobs(FINDINGS["planning"], Scale(), tmp_path) if j.name == job.name)
  assert other.result() is None  # of another scale


def test_a_shared_arm_runs_once_and_first(tmp_path):
  wanted = jobs(FINDINGS["infilling"], Scale(seeds=2), tmp_path)
  assert [job.arm for job in wanted].count(infilling.JUDGE) == 1
  assert wanted[0].run == shared_run(wanted[-1].run, infilling.JUDGE)
  assert wanted[0].config.training.steps == 2 * wanted[-1].config.training.steps


def test_middles_are_read_where_they_lie_and_filled_again():
  texts = ["".join(string.ascii_lowercase[(i + k) % 26] for k in range(64)) for i in range(8)]
  middles = infilling.Middles.of(texts, 0.3)
  for tokenizer, middle_is_last in (
    (letters.make(), False),
    (character.make(alphabet=letters.ALPHABET + "|"), True),
  ):
    tokens, hidden = middles.read(tokenizer, middle_is_last)
    assert (hidden.sum(axis=1) == 19).all()
    found = infilling.written(tokenizer, tokens, hidden)
    assert middles.filled(found) == texts  # what was read is the middle
  tokens[hidden] = tokenizer.encode("|")  # no letter: the length of a window stays
  assert infilling.written(tokenizer, tokens, hidden)[0] == " " * 19


def test_what_each_model_reads_when_it_fills(monkeypatch):
  asked = []
  monkeypatch.setattr(
    infilling, "draw", lambda how, model, prompt: asked.append((how, prompt.given)) or prompt
  )
  hidden = np.tile(np.arange(16) // 4 == 1, (3, 1))
  for process in ("absorbing", "uniform", "autoregressive"):
    infilling.fill(tiny.model(process), np.zeros((3, 16), np.int32), hidden, temperature=1.0)
  (masked, sides), (_, also), (_, left) = asked
  assert masked.steps == 4 and masked.sampler_settings == {"score": "random"}
  assert (sides == ~hidden).all() and (also == ~hidden).all()
  assert (left == (np.arange(16) < 4)).all()


def test_a_text_of_your_own_replaces_no_record(tmp_path):
  values = SimpleNamespace(fast=False, text="book.txt", only=["infilling"])
  run.check(values, tmp_path)
  with pytest.raises(UserError, match="--output"):
    run.check(values, HERE)
  values.only = None
  with pytest.raises(UserError, match="--only=infilling"):
    run.check(values, tmp_path)
  (tmp_path / "short.txt").write_text("\n\n".join(f"line {i}" for i in range(30)))
  with pytest.raises(UserError, match="holds out has fewer than 64 letters"):
    infilling.windows(8, str(tmp_path / "short.txt"))


def test_the_likelihoods_of_all_rows_of_a_chain_sum_to_one():
  text = SyntheticAnyOrder(letters=3, characters=4)
  rows = ["".join(row) for row in itertools.product("abc", repeat=4)]
  nats = any_order.true_nats(text, rows)
  assert np.exp(-nats).sum() == pytest.approx(1.0)
  assert (np.exp(-nats) * nats).sum() == pytest.approx(text.entropy)


def test_random_orders_are_others_than_that_of_the_chain():
  orders = any_order.orders_of(SyntheticAnyOrder(), random=8)
  assert len(np.unique(orders, axis=0)) == 10
  assert (np.sort(orders) == np.arange(24)).all()


def test_tables_and_figures(tmp_path):
  point = {"step": 2, "evaluations": 4.0, "tokens": 0.5, "answers": 8, "seconds": 1.0}
  point |= {
    "method": "masked",
    "share": 0.01,
    "epochs": 3.0,
    "bits": 2.5,
    "nats": 1.0,
    "hidden": 0.1,
    "judged": 0.2,
  }
  point |= {f"milliseconds_{batch}": 3.0 for batch in (1, 32)}
  for name, finding in FINDINGS.items():
    rows = [
      {"arm": arm, "order": arm, "seed": seed, "exact": 0.5 + seed / 10, **point}
      for seed in (0, 1)
      for arm in finding.arms
    ]
    (tmp_path / f"{name}.json").write_text(json.dumps({"results": {"rows": rows}}))
    run.write(finding, tmp_path)
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
  assert "| 55.0 [0, 100] | 50, 60 | 4 |" in FINDINGS["planning"].table(
    [{**point, "arm": "masked", "exact": value} for value in (0.5, 0.6)]
  )


def test_the_probabilities_of_all_rows_are_one_in_every_order():
  model = tiny.model("absorbing", length=2)
  leaves, tree = jax.tree.flatten(model.params)
  keys = jax.random.split(jax.random.key(0), len(leaves))  # an untrained head is all zeros
  noise = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
  noisy = jax.tree.map(jax.numpy.add, leaves, noise)
  model = dataclasses.replace(model, params=jax.tree.unflatten(tree, noisy))
  rows = np.stack(np.meshgrid(np.arange(27), np.arange(27)), axis=-1).reshape(-1, 2)
  nats = any_order.order_nats(model, rows, np.array([[0, 1], [1, 0]]))
  np.testing.assert_allclose(np.exp(-nats).sum(axis=1), 1.0, rtol=1e-4)
  assert np.abs(nats[0] - nats[1]).max() > 1e-3


def test_an_interval_is_that_of_student():
  assert interval([0.5]) == (0.5, 0.0)
  mean, half = interval([1.0, 2.0, 3.0])
  assert mean == 2.0 and half == pytest.approx(4.303 / 3**0.5)
