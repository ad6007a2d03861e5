"""Requests to stop: the first signal asks, a second Ctrl-C interrupts."""

import os
import signal

import pytest

from dlm_jax.training.preemption import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_makes_the_next_step_the_last(number):
  before = signal.getsignal(number)
  with StopRequest() as stop:
    assert not stop.at(1)
    os.kill(os.getpid(), number)
    assert stop.at(2) and stop.at(3)
  assert signal.getsignal(number) == before


def test_a_second_ctrl_c_interrupts_at_once():
  with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.at(1)
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the handler runs between two instructions
      pass
    raise AssertionError("the second Ctrl-C was swallowed")
