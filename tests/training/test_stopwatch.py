"""The stopwatch, by a clock that only the test moves."""

import pytest

from dlm_jax.training.stopwatch import Stopwatch
from tests.clock import Clock


def test_pauses_do_not_count():
  clock = Clock()
  stopwatch = Stopwatch(clock)
  assert not stopwatch.running and stopwatch.seconds == 0
  with stopwatch.paused():
    clock.time += 5
  stopwatch.restart()
  clock.time += 2
  with pytest.raises(KeyError), stopwatch.paused():
    clock.time += 100
    raise KeyError
  clock.time += 1
  assert stopwatch.running and stopwatch.seconds == 3
  stopwatch.restart()
  assert stopwatch.seconds == 0
