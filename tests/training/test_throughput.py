"""Rates of a run: from shapes and seconds, with MFU where the peak of the device is known."""

import types

import jax
import pytest

from dlm_jax.training import throughput
from dlm_jax.training.progress_line import ProgressLine
from dlm_jax.training.throughput import Meter


def meter(peak):
  return Meter(tokens_per_step=1000, flops_per_token=6_000, devices=4, peak=peak)


def test_rates():
  assert meter(peak=1e6).rates(steps=3, seconds=2.0) == {
    "tokens_per_second": 1500.0,
    "flops_per_second": 9e6,
    "mfu": 9e6 / 4e6,
  }
  assert "mfu" not in meter(peak=None).rates(steps=3, seconds=2.0)


@pytest.mark.parametrize(
  ("kind", "peak"), [("TPU v5 lite", 197e12), ("NVIDIA H100 80GB HBM3", 989e12), ("Abacus", None)]
)
def test_peaks_are_of_the_table_or_unknown(kind, peak, monkeypatch):
  device = types.SimpleNamespace(platform="else", device_kind=kind)
  monkeypatch.setattr(jax, "devices", lambda: [device])
  assert throughput.peak_flops() == peak


@pytest.mark.parametrize(("peak", "shown"), [(1.25e7, "MFU 18%"), (None, "MFU unknown")])
def test_the_line_says_when_it_is_unknown(peak, shown, capsys):
  values = {"loss": 1.0, "skipped": 0, "seconds_per_step": 1.0}
  ProgressLine(0, 10).update(5, values | meter(peak).rates(steps=3, seconds=2.0))
  assert shown in capsys.readouterr().out
