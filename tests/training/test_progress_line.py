"""What a person sees of a run where there is no terminal: one line a row."""

import math

import jax
import pytest

from dlm_jax.training.progress_line import ProgressLine

VALUES = {
  "loss": 3 * math.log(2),
  "tokens_per_second": 1234.4,
  "seconds_per_step": 0.5,
  "skipped": 0.0,
}


@pytest.mark.parametrize(
  ("more", "line"),
  [
    ({"mfu": 0.256}, "step 10/100  loss 3.000 bits  1,234 tok/s  MFU 26%  ETA 45 s"),
    ({"loss": math.nan}, "step 10/100  loss is not a number  1,234 tok/s  MFU unknown  ETA 45 s"),
    ({"skipped": 2.0}, "step 10/100  loss 3.000 bits  1,234 tok/s  MFU unknown  2 skipped  ETA 45"),
  ],
)
def test_a_row_is_a_line(capsys, monkeypatch, more, line):
  monkeypatch.setenv("COLUMNS", "200")
  progress = ProgressLine(0, 100)
  progress.update(10, VALUES | more)
  progress.note("a note")
  progress.close()
  first, second = capsys.readouterr().out.splitlines()
  assert first.startswith(line) and second == "a note"


def test_other_processes_are_silent(capsys, monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  progress = ProgressLine(0, 100)
  progress.update(10, VALUES)
  progress.note("a note")
  progress.close()
  assert capsys.readouterr().out == ""
