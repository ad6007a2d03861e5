"""Quality against speed: what is drawn, judged and timed, and the table made of it."""

import json

import numpy as np
import pytest

from experiments.paper_tables import scaled
from experiments.speed_quality import run


def row(method, steps, **fields):
  made = {
    "method": method,
    "steps": steps,
    "evaluations": 4.0,
    "latency": 0.0125,
    "tokens_per_second_alone": 5120.0,
    "tokens_per_second_together": 81920.0,
    "judge_bits_per_character": [2.5, 2.4, 2.6],
    "entropy_nats": [2.3, 2.2, 2.4],
    "spelled": [0.5, 0.4, 0.6],
  }
  return made | fields


RECORD = {
  "results": [row("autoregressive", None), row("absorbing", 1), row("absorbing", 2)],
  "reference": row("", None, judge_bits_per_character=[1.75, 1.7, 1.8]),
}


def test_the_table():
  first, second, third, _ = run.table(RECORD).splitlines()[2:]
  assert first == "| real text |  |  | 1.75 [1.70, 1.80] | 2.30 | 50% |  |  |  |"
  assert second.startswith(
    "| autoregressive | - | 4 | 2.50 [2.40, 2.60] | 2.30 | 50% | 12 | 5,120 |"
  )
  assert third.startswith("| absorbing | 1 | 4 |")


def test_steps_double_to_the_length():
  stepped, alone = (run.Method("", "", stepped=choice) for choice in (True, False))
  assert run.steps_of(stepped, 8) == (1, 2, 4, 8)
  assert run.steps_of(alone, 8) == (8,)


def test_the_figure_is_drawn(tmp_path):
  run.figure(RECORD, tmp_path / "figure.png")
  assert (tmp_path / "figure.png").stat().st_size > 5000


def test_a_uniform_text_is_as_surprising_as_it_is_varied():
  """A judge that gives each symbol half a bit of the text's own 2."""
  tokens = [np.array([0, 1, 2, 3])] * 3
  found = run.quality(
    tokens,
    ["ab cd ef"] * 3,
    {"cd"},
    lambda texts: (np.full(len(texts), 2 * np.log(2)), np.full(len(texts), 4)),
  )
  assert found["judge_bits_per_character"] == pytest.approx([0.5] * 3)
  assert found["entropy_nats"] == pytest.approx([np.log(4)] * 3)
  assert found["spelled"] == pytest.approx([1.0] * 3)


@pytest.mark.slow
def test_the_sweep_measures_all_at_each_number_of_steps(monkeypatch, tmp_path):
  """The student of Duo among them, whose teacher is trained on the way."""
  full = scaled.config

  def tiny(trained, steps):
    config = full(trained, steps)
    config.data.update(length=4, directory=str(tmp_path / "data"))
    config.data.corpus = {"name": "synthetic_markov"}
    config.network.update(width=16, depth=1)
    config.evaluation.rows = 8
    config.training.batch_size = 8
    return config

  monkeypatch.setattr(scaled, "config", tiny)
  chosen = ("autoregressive", "duo_distilled")
  monkeypatch.setattr(run, "METHODS", [m for m in run.METHODS if m.preset in chosen])
  record = json.loads(json.dumps(run.sweep(tmp_path, steps=2, judged=4)))
  measured = [(row["steps"], row["evaluations"]) for row in record["results"]]
  assert measured == [(None, 4), (1, 1), (2, 2), (4, 4)]
  for found in record["results"]:
    assert found["latency"] > 0 and found["tokens_per_second_together"] > 0
    assert found["judge_bits_per_character"][0] > 0
  assert (tmp_path / "duo" / "checkpoints").is_dir()
  assert record["protocol"]["judge"]["step"] == 4
