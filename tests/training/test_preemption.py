"""Requests to stop: the first signal asks, a second Ctrl-C interrupts."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dlm_jax.training.preemption import StopRequest, interruptible


def _wait_for_the_handler():
  """A signal may reach another thread first: at most a minute."""
  for _ in range(6000):
    time.sleep(0.01)


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
    _wait_for_the_handler()
    raise AssertionError("the second Ctrl-C was swallowed")


def test_with_nothing_to_save_sigterm_interrupts_like_ctrl_c():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(KeyboardInterrupt), interruptible():
    os.kill(os.getpid(), signal.SIGTERM)
    _wait_for_the_handler()
    raise AssertionError("SIGTERM was swallowed")
  assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_than_the_main_one_leaves_signals_alone():
  def stoppable():
    with interruptible(), StopRequest() as stop:
      return stop.at(1), signal.getsignal(signal.SIGTERM)

  with ThreadPoolExecutor(1) as pool:
    assert pool.submit(stoppable).result() == (False, signal.getsignal(signal.SIGTERM))
