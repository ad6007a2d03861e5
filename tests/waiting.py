"""Waits for what another process does."""

import time

from dlm_jax.runs.metrics import read_rows


def for_step(process, workdir, step):
  """Returns when the run of `process` has logged `step`."""
  deadline = time.monotonic() + 400
  while not any(row["step"] >= step for row in read_rows(workdir)):
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < deadline
    time.sleep(0.02)
