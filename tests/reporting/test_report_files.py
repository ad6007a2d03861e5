"""Reports: nothing merged unmarked, and a page that works in a real browser."""

import json
import shutil

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.reporting import comparison, page, tables
from dlm_jax.reporting.comparison import Result
from dlm_jax.reporting.report_files import ReportSettings, write_report
from tests.reporting import records


def groups(*made):
  return comparison.groups([Result(f"run{i}", record) for i, record in enumerate(made)])


@pytest.mark.parametrize(
  "field",
  [
    "split",
    "packing",
    "scored",
    "padding",
    "environment.dataset_hash",
    "config.data.length",
    "zero_shot.sha256",
  ],
)
def test_what_was_measured_keeps_results_apart(field):
  assert len(groups(records.likelihood(), records.likelihood(**{field: "other"}))) == 2


@pytest.mark.parametrize("field", ["judge.step", "judge.name", "settings.prompt"])
def test_samples_under_other_judges_or_prompts_are_kept_apart(field):
  assert len(groups(records.samples(), records.samples(**{field: "other"}))) == 2


@pytest.mark.parametrize(
  "field",
  ["weights", "seed", "step", "dtype", "environment.device_kind", "config.training.batch_size"],
)
def test_any_other_difference_is_marked(field):
  other = records.likelihood(**{field: 77})
  (group,) = groups(records.likelihood(), records.likelihood(), other, other)
  assert group.marks == ("", "", "a", "a") and group.notes == {"a": {field: "77"}}


def test_a_field_that_only_one_protocol_has_is_marked():
  (group,) = groups(*(records.samples(**f) for f in ({}, {}, {"settings.guidance": 2.0})))
  assert group.marks == ("", "", "a") and group.notes == {"a": {"settings.guidance": "2.0"}}


def test_what_has_a_column_or_no_influence_is_not_marked():
  other = {"process": {"name": "uniform"}, "environment.date": "later"}
  (group,) = groups(records.likelihood(), records.likelihood(**other))
  assert group.marks == ("", "")


def test_letters_go_on_after_z():
  assert [comparison._letter(i) for i in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]


def test_the_table_says_bound_or_exact_and_names_its_marks():
  exact = records.likelihood(1.5, quantity="negative log-likelihood", weights="raw")
  (group,) = groups(records.likelihood(2.0), records.likelihood(2.0), exact)
  text = tables.of_group("likelihood", group).markdown()
  assert "| run0 | absorbing (linear) | ≤ 2 ± 0.01 |" in text
  assert "| run2 [a] | absorbing (linear) | 1.5 ± 0.01 |" in text
  assert '- [a] differs in weights = "raw"' in text
  assert "split test, packing stream, scored all, length 8, data 0123456789ab" in text


def test_bounds_on_the_same_rows_are_compared_by_their_paired_difference():
  other = records.likelihood(2.5)
  for cluster, more in zip(other["by_cluster"], (0, 1, 2), strict=True):
    cluster["nats"] += more
  # The second scored other rows, and of the third nothing is known.
  fewer, old = records.likelihood(2.2), records.likelihood(2.3)
  fewer["by_cluster"].pop()
  del old["by_cluster"], old["protocol"]["standard_error"]
  (group,) = groups(records.likelihood(2.0), fewer, old, other)
  table = tables.of_group("likelihood", group)
  assert table.columns[-1] == "nats/token above run0, paired"
  # Over 72 tokens 3 nats more than 0.5 a token; residuals -1, 0 and 1 of the clusters.
  assert [row[-1] for row in table.rows] == ["-", "-", "-", "+0.5417 ± 0.024"]
  assert "standard error over 3 blocks of 3 neighbouring rows" in table.caption
  (note,) = table.notes
  assert "[a] differs in standard_error" in note and "too small for text; evaluate again" in note
  assert table.rows[2][0] == "run2 [a]"
  (alone,) = groups(records.likelihood(2.0), old)
  assert "paired" not in tables.of_group("likelihood", alone).columns[-1]


def test_samples_stand_with_their_intervals_and_evaluations():
  (group,) = groups(records.samples(20.0))
  table = tables.of_group("samples", group)
  assert table.columns[-2:] == ("judge perplexity over tokens", "entropy")
  assert table.rows[0][2:] == ("ancestral", "8", "7", "100", "20 [18, 22]", "2.5 [2.4, 2.6]")


def test_answers_stand_with_their_sampler():
  (group,) = groups(records.answers(0.75), records.answers(0.5, **{"settings.steps": None}))
  table = tables.of_group("exact_match", group)
  assert table.rows[0][2:] == ("confidence", "4", "4", "1,000", "0.7500 ± 0.014")
  assert table.rows[1][3] == "-" and table.title == "Answers"


@pytest.fixture
def made(tmp_path):
  """A report of records of every kind, and its directory."""
  kept = tmp_path / "kept"
  kept.mkdir()
  for name, record in {
    "absorbing": records.likelihood(2.0),
    "uniform": records.likelihood(2.2, **{"process.name": "uniform"}),
    "few": records.samples(30.0, text=records.HOSTILE),
    "many": records.samples(20.0, **{"tokens_per_second": 10.0, "network_evaluations": [64]}),
    "sweep": {"kind": "noise_schedules", "results": {}, "protocol": {}},
  }.items():
    (kept / f"{name}.json").write_text(json.dumps(record))
  run = tmp_path / "trained"
  run.mkdir()
  rows = [{"step": s, "loss": 3 - s / 10} for s in range(1, 9)] + [
    {"step": 8, "validation_bound": 2.1}
  ]
  (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  (run / "evaluations").mkdir()
  (run / "evaluations" / "one.json").write_text(json.dumps(records.likelihood(1.9, seed=1)))
  settings = ReportSettings(
    runs=(str(run),),
    results=(str(kept),),
    output=str(tmp_path / "report"),
    keep=str(tmp_path / "copies"),
  )
  return write_report(settings), tmp_path


def test_the_report_holds_every_record_and_copies_them(made):
  (markdown, html), directory = made
  text = markdown.read_text()
  for name in ("absorbing", "uniform", "few", "many", "trained [a]"):
    assert f"| {name} |" in text
  assert "[a] differs in seed = 1" in text and "sweep" not in text
  assert {p.name for p in (directory / "copies").iterdir()} == {
    f"{name}.json" for name in ("absorbing", "uniform", "few", "many", "trained")
  }
  content = html.read_text()
  assert content.count("<svg") == 4 and records.HOSTILE not in content
  for heading in ("Training", "Loss against time", "Quality against speed", "From noise to text"):
    assert f"<h2>{heading}</h2>" in content


def test_sections_without_anything_to_show_are_left_out():
  (group,) = groups(records.likelihood() | {"by_time": [], "by_position": []})
  text = page.render("title", {}, {"likelihood": [group]}, [])
  assert "<svg" not in text and "<h2>" not in text.replace("<h2>Results</h2>", "")


def test_the_page_in_a_real_browser(made):
  """Nothing is loaded from elsewhere, figures show, and the trajectory plays and scrubs."""
  api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
  names = ("chromium", "chromium-browser", "google-chrome")
  browser_path = next(filter(None, map(shutil.which, names)), None)
  if browser_path is None:
    pytest.skip(f"there is no browser here: none of {', '.join(names)}")
  (_, html), directory = made
  with api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
    shown = browser.new_page(viewport={"width": 1000, "height": 800})
    requests, errors = [], []
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.goto(html.as_uri())
    assert requests == [html.as_uri()] and errors == []
    assert shown.evaluate("window.broken") is None
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1000
    for figure in shown.locator("figure svg").all():
      box = figure.bounding_box()
      assert box["width"] > 300 and box["height"] > 100
    player = shown.locator(".player").first
    state, slider, button = (player.locator(s) for s in ("pre", "input", "button"))
    assert state.inner_text() == "···" and state.locator(".mask").count() == 3
    slider.fill("1")
    assert state.inner_text() == "a·<b>" and state.locator(".new").count() == 2
    slider.fill("2")
    assert state.text_content() == f"a{records.HOSTILE}<b>"
    button.click()  # from the end it starts again
    assert button.inner_text() == "Pause"
    api.expect(button).to_have_text("Play", timeout=15_000)
    assert slider.input_value() == "2" and player.locator("output").inner_text() == "2 / 2"
    shown.screenshot(path=directory / "page.png", full_page=True)
    browser.close()
  assert (directory / "page.png").stat().st_size > 10_000


def test_mistakes(tmp_path):
  with pytest.raises(UserError, match="there is no directory"):
    write_report(ReportSettings(runs=(str(tmp_path / "no"),)))
  with pytest.raises(UserError, match="nothing to report"):
    write_report(ReportSettings(results=(str(tmp_path),), output=str(tmp_path / "r")))
  (tmp_path / "bad.json").write_text("{")
  with pytest.raises(UserError, match=r"bad\.json is not JSON"):
    write_report(ReportSettings(results=(str(tmp_path),), output=str(tmp_path / "r")))
