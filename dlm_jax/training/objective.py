"""What a training step minimises, position by position."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core.types import Params
from dlm_jax.model import head_scores
from dlm_jax.model.denoiser import Denoiser, Head
from dlm_jax.networks.transformer import Transformer
from dlm_jax.processes import base
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.training.state import TrainState

# The rows of a batch and what is drawn for each of them: `tokens`, `given` and `label` as in
# `training.step`, `t` `[B]`, and the keys `noise_keys` and `dropout_keys` `[B]`.
Rows = dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Objective:
  """The loss of the process itself.

  Attributes:
    process: defines the noise and the loss.
    network: predicts the clean tokens.
    head: how the head of the network is applied.
  """

  process: Process
  network: Transformer
  head: Head

  def __call__(self, params: Params, rows: Rows, state: TrainState) -> tuple[Array, Array]:
    """The loss of each position and the overflow of the head.

    Args:
      params: the parameters that are trained, in place of those of `state`.
      rows: the batch and its draws.
      state: gives the step, and the teacher where there is one.

    Returns:
      Nats `[B, L]`, 0 at given positions; and how many scored positions exceeded the slots of the
      head, int32, see `model.head`.
    """
    process, denoise = self.bind(params, rows, state)
    loss = process.loss(rows["noise_keys"], denoise, rows["tokens"], rows["t"], rows.get("given"))
    return loss, self.overflow(loss)

  def bind(
    self, params: Params, rows: Rows, state: TrainState, *, dropout: bool = True
  ) -> tuple[Process, Denoise]:
    """The process as of the step of `state`, with what it has learned, and the denoiser."""
    process = base.at_step(self.process, state.step)
    denoise = Denoiser(
      self.network,
      params,
      self.head,
      rows["dropout_keys"] if dropout else None,
      pattern=base.pattern(process),
      labels=rows.get("label"),
    )
    return base.bind(process, denoise)

  def overflow(self, loss: Array) -> Array:
    """Scored positions beyond the slots of the gathered head; they took the plain path."""
    if self.head.capacity == 0.0:
      return jnp.int32(0)
    return head_scores.overflow(loss != 0, capacity=self.head.capacity, groups=self.head.groups)

  def after_update(self, state: TrainState) -> TrainState:
    """The state after a step, with what else this objective changes in it: nothing."""
    return state
