"""The sweep over noise schedules: one program for all of them, and honest tables."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.schedules import alpha_schedules, gamma_schedules
from experiments.noise_schedules import figures, lab, run, schedules


@pytest.mark.parametrize("name", schedules.NAMES)
def test_one_program_is_every_schedule(name):
  chosen = schedules.AnySchedule(jnp.int32(schedules.NAMES.index(name)))
  one = alpha_schedules.make({"name": name})
  t = jnp.linspace(0.01, 0.99, 9)
  for method in ("alpha", "alpha_derivative", "one_minus_alpha"):
    np.testing.assert_allclose(getattr(chosen, method)(t), getattr(one, method)(t), rtol=1e-5)
  np.testing.assert_allclose(chosen.inverse(one.alpha(t)), one.inverse(one.alpha(t)), rtol=1e-4)


@pytest.mark.parametrize("name", schedules.SHAPES)
def test_one_program_is_every_shape_between_the_same_ends(name):
  chosen = schedules.AnyShape(jnp.int32(schedules.SHAPES.index(name)))
  one = gamma_schedules.make({"name": name})
  first, middle, last = (float(chosen.gamma(jnp.float32(t))) for t in (0, 0.3, 1))
  assert (first, last) == pytest.approx(schedules.ENDS)
  own = [float(one.gamma(jnp.float32(t))) for t in (0, 0.3, 1)]
  assert (middle - first) / (last - first) == pytest.approx((own[1] - own[0]) / (own[2] - own[0]))


def row(process, schedule, seed, **fields):
  made = {
    "process": process,
    "schedule": schedule,
    "seed": seed,
    "own_bound": 2.0,
    "own_standard_error": 0.01,
    "reference_bound": 2.0,
    "reference_error_of_draws": 0.03,
    "reference_loss_over_time": [1.0, 2.0],
    "reference_variance_over_time": 0.5,
    "gradient_variance": 4.0,
    "judge_perplexity": 10.0,
    "entropy": 2.0,
  }
  return made | fields


RECORD = {
  "results": {
    "rows": [
      row(process, schedule, seed, **(fields if schedule == "cosine" else {}))
      for process in schedules.PROCESSES
      for seed, fields in enumerate(
        [{"own_bound": 2.0 + np.log(2), "reference_bound": 2.05, "gradient_variance": 2.0}, {}]
      )
      for schedule in ("linear", "cosine")
    ]
  }
}


def test_the_table_compares_within_a_seed():
  text = figures.tables(RECORD)
  (line,) = {line for line in text.splitlines() if line.startswith("| cosine")}
  cells = [cell.strip() for cell in line.strip("|").split("|")]
  assert cells[2] == "+1.000 +0.000"  # bits, by seed
  assert cells[4] == f"{0.05 / np.hypot(0.03, 0.03):+.1f} +0.0"
  assert cells[5] == "0.75" and len(cells) == len(figures.COLUMNS)


def test_the_figure_is_drawn(tmp_path):
  figures.figure(RECORD, tmp_path / "figure.png")
  assert (tmp_path / "figure.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize("process", ["absorbing", "gaussian"])
def test_the_sweep_pairs_its_runs(process, monkeypatch, tmp_path):
  """At the weights of one run all schedules give the same bound; their own weights differ."""
  monkeypatch.setattr(schedules, "NAMES", ("linear", "cosine"))
  monkeypatch.setattr(schedules, "SHAPES", ("linear", "cosine"))
  monkeypatch.setattr(schedules, "PROCESSES", (process,))
  sizes = {"width": 32, "depth": 1, "length": 16, "rows": 64, "batches": 3, "drawn": 4}
  settings = lab.Settings(steps=6, seeds=1, draws=32, **sizes)
  bound, measured = lab.Lab.bound, []

  def recorded(measuring, index, weights, prefix):
    measured.append((prefix, index))
    return bound(measuring, index, weights, prefix)

  monkeypatch.setattr(lab.Lab, "bound", recorded)
  *_, record = run.sweep(settings)
  linear, cosine = record["results"]["rows"]
  assert linear["own_bound"] == linear["reference_bound"] != cosine["own_bound"]
  assert abs(figures.deviation(cosine, linear)) < 4
  # A run is scored under the linear schedule, the linear run's weights under each.
  assert measured == [("own", 0), ("reference", 0), ("own", 0), ("reference", 1)]
  assert linear["gradient_variance"] > 0 and linear["judge_perplexity"] > 1
  protocol = record["protocol"]
  assert protocol["settings"]["steps"] == 6 and protocol["environment"]["dataset_hash"]
