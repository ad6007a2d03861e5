"""What the device can do at most, measured: matrix products, and passing over memory."""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from dlm_jax.training.throughput import measured_matmul_flops


@dataclass(frozen=True)
class Roofline:
  """Rates of one device.

  Attributes:
    flops: FLOPs/s of square matrix products.
    bandwidth: bytes/s that are read and written.
  """

  flops: float
  bandwidth: float

  def seconds(self, flops: float, moved: float) -> float:
    """The least time that so many FLOPs on so many bytes take."""
    return max(flops / self.flops, moved / self.bandwidth)


def measured(size: int, dtype: jnp.dtype) -> Roofline:
  """The rates here: of products of `dtype`, and of a pass over an array of `size` bytes."""
  side = 1024 if jax.default_backend() == "cpu" else 8192
  moved = fastest_pass(size // jnp.dtype(dtype).itemsize, dtype)
  return Roofline(measured_matmul_flops(side, repeats=20, dtype=dtype), 2 * size / moved)


def fastest_pass(count: int, dtype: jnp.dtype, repeats: int = 10) -> float:
  """Seconds of the fastest of `repeats` passes that read and write an array of `count` numbers."""
  # In place, so that no memory is allocated.
  double = jax.jit(lambda x: x * 2, donate_argnums=0)
  x, seconds = double(jnp.zeros(count, dtype)).block_until_ready(), []
  for _ in range(repeats):
    start = time.perf_counter()
    x = double(x).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return min(seconds)
