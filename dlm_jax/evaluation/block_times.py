"""The variance of block diffusion's loss under each interval of times it could be trained on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.model.denoiser import bound
from dlm_jax.processes.base import Denoise
from dlm_jax.processes.block import Block
from dlm_jax.processes.draws import row_keys
from dlm_jax.processes.parts.times import Times

WIDTHS = (5, 6, 7, 8, 9, 10)  # in tenths
# All intervals of these widths on a grid of tenths, `[I, 2]`; the last is the whole of [0, 1].
INTERVALS = np.array([(a, a + w) for w in WIDTHS for a in range(11 - w)], np.float32) / 10


def losses(
  process: Block, denoiser: Callable[[Any], Denoise], times: Times
) -> Callable[[Any, Array, Array, Array | None], Array]:
  """Returns `(params, key, tokens [B, L], given) -> [I]`: the loss under each of `INTERVALS`.

  Nats a scored token of one batch; all intervals share the noise and the ranks of the times.
  """

  @jax.jit
  def of_batch(params: Any, key: Array, tokens: Array, given: Array | None) -> Array:
    time_key, noise_key = jax.random.split(key)
    t, _ = times.draw(time_key, tokens.shape[0], process)
    noise = row_keys(noise_key, tokens.shape[0])
    scored = tokens.size if given is None else jnp.maximum(jnp.sum(~given), 1)

    learned, denoise = bound(process, denoiser(params))

    def of_interval(clip: Array) -> Array:
      loss = learned.loss_within(clip, noise, denoise, tokens, t, given)
      return jnp.sum(loss) / scored

    return jax.lax.map(of_interval, jnp.asarray(INTERVALS))

  return of_batch


def summarize(table: np.ndarray) -> list[dict[str, Any]]:
  """Mean and variance over batches of the losses `[batches, I]`, the smallest variance first."""
  mean, variance = table.mean(0, dtype=float), table.var(0, ddof=1, dtype=float)
  return [
    {
      "clip": [round(float(end), 1) for end in INTERVALS[i]],
      "loss": float(mean[i]),
      "variance": float(variance[i]),
    }
    for i in np.argsort(variance, kind="stable")
  ]
