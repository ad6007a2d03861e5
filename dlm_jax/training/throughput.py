"""How fast a run is: tokens/s, model FLOPs/s and, where the peak of the device is known, MFU."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from dlm_jax.core.patterns import Pattern
from dlm_jax.networks.base import Network

# Dense bf16 peaks in FLOPs/s of one device (summed in float32), from the vendors' data sheets, by
# `device_kind`. What is not here has no MFU.
PEAK_FLOPS = {
  "TPU v2": 22.5e12,
  "TPU v3": 61.5e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5": 459e12,
  "TPU v6 lite": 918e12,
  "NVIDIA A100-SXM4-40GB": 312e12,
  "NVIDIA A100-SXM4-80GB": 312e12,
  "NVIDIA A100-PCIE-40GB": 312e12,
  "NVIDIA A100 80GB PCIe": 312e12,
  "NVIDIA L4": 121e12,
  "NVIDIA L40S": 362e12,
  "NVIDIA H100 80GB HBM3": 989e12,
  "NVIDIA H100 PCIe": 756e12,
  "NVIDIA H100 NVL": 835e12,
  "NVIDIA GH200 480GB": 989e12,
  "NVIDIA H200": 989e12,
  "NVIDIA B200": 2250e12,
}


def peak_flops() -> float | None:
  """The peak of one device here in FLOPs/s: from the table, measured on a CPU, None if unknown."""
  device = jax.devices()[0]
  if device.platform == "cpu":
    return measured_matmul_flops(1024)
  return PEAK_FLOPS.get(device.device_kind)


def measured_matmul_flops(size: int, repeats: int = 8, dtype: jnp.dtype = jnp.float32) -> float:
  """FLOPs/s of the fastest of `repeats` square matrix products of `size` on one device."""
  # Random: a GPU multiplies ones faster, for less power.
  x = jax.random.normal(jax.random.key(0), (size, size), dtype)
  product = jax.jit(lambda a: a @ a)
  product(x).block_until_ready()
  return 2 * size**3 / min(_seconds(lambda: product(x).block_until_ready()) for _ in range(repeats))


def _seconds(run: Callable[[], object]) -> float:
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def training_flops_per_token(
  network: Network, pattern: Pattern, length: int, *, scored: float = 1.0, teachers: int = 0
) -> float:
  """FLOPs of a training step for one token of a row of `length`, from shapes.

  Three times those of the forward pass, as the backward pass takes two more for each product, and
  once more for each teacher.

  Args:
    network, pattern, length, scored: see `Network.flops_per_token`.
    teachers: networks that are evaluated besides and not trained.
  """
  return (3 + teachers) * network.flops_per_token(length, pattern, scored)


@dataclass(frozen=True)
class Meter:
  """Turns steps and seconds into rates.

  Attributes:
    tokens_per_step: of the global batch.
    flops_per_token: of forward and backward pass, from shapes.
    devices: over which a step runs.
    peak: FLOPs/s of one device, None if unknown.
  """

  tokens_per_step: int
  flops_per_token: float
  devices: int
  peak: float | None

  def rates(self, steps: int, seconds: float) -> dict[str, float]:
    """Tokens/s and model FLOPs/s of all devices together, and MFU as a fraction of their peak."""
    tokens = steps * self.tokens_per_step / seconds
    flops = tokens * self.flops_per_token
    rates = {"tokens_per_second": tokens, "flops_per_second": flops}
    return rates if self.peak is None else rates | {"mfu": flops / (self.devices * self.peak)}
