"""The record of a run: rows of JSON, cut back to the step that a run resumes from."""

import json

import pytest

from dlm_jax.core.faults import SystemFault
from dlm_jax.runs.metrics import MetricsLog, read_rows


def write(workdir, start, *steps):
  log = MetricsLog(workdir, start, {})
  for step in steps:
    log.write(step, {"loss": 10.0 * step})
  log.close()


def test_rows_are_objects_with_their_step(tmp_path):
  assert read_rows(tmp_path) == []
  write(tmp_path, 0, 1, 2)
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line) for line in lines] == read_rows(tmp_path)
  assert read_rows(tmp_path) == [{"step": 1, "loss": 10.0}, {"step": 2, "loss": 20.0}]
  assert list((tmp_path / "tensorboard").iterdir())


def test_resuming_drops_the_rows_after_the_restored_step(tmp_path):
  write(tmp_path, 0, 1, 2, 3, 4)
  write(tmp_path, 2, 3)
  assert [row["step"] for row in read_rows(tmp_path)] == [1, 2, 3]
  assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "tensorboard"}


def test_a_line_that_a_crash_has_cut_off_is_left_out(tmp_path):
  write(tmp_path, 0, 1, 2)
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 3, "lo')
  assert [row["step"] for row in read_rows(tmp_path)] == [1, 2]
  write(tmp_path, 2, 3)
  assert [row["step"] for row in read_rows(tmp_path)] == [1, 2, 3]


def test_damaged_lines_are_left_out_and_kept(tmp_path, caplog):
  write(tmp_path, 0, 1, 2, 3)
  path = tmp_path / "metrics.jsonl"
  first, second, third = path.read_bytes().splitlines()
  damaged = [b"[1]", b"\xff\xfe", b'{"loss": 1.0}', b'{"step": "4"}', second[:5]]
  path.write_bytes(b"\n".join([first, *damaged, second, third, b'{"st']))
  assert [row["step"] for row in read_rows(tmp_path)] == [1, 2, 3]
  assert f"{path}: 5 damaged lines, from line 2 on" in caplog.text
  write(tmp_path, 2)
  assert path.read_bytes().splitlines() == [first, *damaged, second]


@pytest.mark.parametrize("full", ["metrics.jsonl", "tensorboard"])
def test_a_full_disk_is_one_sentence(tmp_path, full):
  log = MetricsLog(tmp_path, 0, {})
  if full == "tensorboard":
    # What it writes is buffered, and fails when it is flushed.
    log._board._events._py_recordio_writer._writer = open("/dev/full", "wb")  # noqa: SIM115
  else:
    (tmp_path / full).symlink_to("/dev/full")
  with pytest.raises(
    SystemFault, match=r"metrics of step 1 in .* cannot be written: No space left"
  ):
    log.write(1, {"loss": 1.0})
