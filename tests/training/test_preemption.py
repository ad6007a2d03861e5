"""Requests to stop: the first signal asks, a second Ctrl-C interrupts."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from dlm_jax.training.preemption import StopRequest, interruptible


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_makes_the_next_step_the_last(number):
  before = signal.getsignal(number)
  with StopRequest() as stop:
    assert not stop.at(1)
    os.kill(os.getpid(), number)
    assert stop.at(2) and stop.at(3)
  assert signal.getsignal(number) == before


@pytest.fixture
def ctrl_c_interrupts():
  """A shell has what it runs in the background ignore Ctrl-C, and these tests may run there."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_a_second_ctrl_c_interrupts_at_once():
  with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.at(1)
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the handler runs between two instructions
      pass
    raise AssertionError("the second Ctrl-C was swallowed")


def test_with_nothing_to_save_sigterm_interrupts_like_ctrl_c():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(KeyboardInterrupt), interruptible():
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
      pass
    raise AssertionError("SIGTERM was swallowed")
  assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_than_the_main_one_leaves_signals_alone():
  def stoppable():
    with interruptible(), StopRequest() as stop:
      return stop.at(1), signal.getsignal(signal.SIGTERM)

  with ThreadPoolExecutor(1) as pool:
    assert pool.submit(stoppable).result() == (False, signal.getsignal(signal.SIGTERM))
