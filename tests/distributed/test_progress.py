"""How far a command has come, by a clock that only the test moves."""

import pytest

from dlm_jax.distributed import cluster, progress
from dlm_jax.distributed.progress import Progress
from tests.clock import Clock


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(progress.time, "monotonic", clock)
  return clock


def test_plain_lines_come_at_intervals_and_never_on_standard_output(clock, capsys):
  for _ in progress.track(range(40), "evaluating"):
    clock.time += 0.5
  shown = capsys.readouterr()
  assert (
    shown.err == "evaluating: 20 of 40 batches, 10 s left\nevaluating: 40 of 40 batches, 0 s left\n"
  )
  assert shown.out == ""


def test_of_a_stream_no_end_is_known(clock, capsys):
  with Progress("preparing train", unit="characters") as shown:
    clock.time = 9.9
    shown.advance(1000, "1 documents")
    clock.time = 10.0
    shown.advance(500, "2 documents")
  assert capsys.readouterr().err == "preparing train: 1,500 characters, 2 documents\n"


def test_other_processes_are_silent(clock, capsys, monkeypatch):
  monkeypatch.setattr(cluster, "index", lambda: 1)
  for _ in progress.track(range(4), "evaluating"):
    clock.time += 60
  assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_makes_way_for_what_is_printed(capsys, monkeypatch):
  monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
  with Progress("drawing", 16, "sequences") as shown:
    with shown.paused():
      assert "\x1b[?25h" in capsys.readouterr().err  # the cursor is back
    shown.advance(16)
  assert "drawing: 0 of 16 sequences" in capsys.readouterr().err
