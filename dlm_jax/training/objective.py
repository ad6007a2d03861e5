"""What a training step minimises, position by position."""

from dataclasses import dataclass

from jax import Array

from dlm_jax.core.types import Params
from dlm_jax.model.denoiser import Denoiser, bound
from dlm_jax.model.head import Head
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.processes.block import Block
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
  network: Network
  head: Head

  def __call__(self, params: Params, rows: Rows, state: TrainState) -> Array:
    """The loss of each position, nats `[B, L]`, 0 at given positions.

    Args:
      params: the parameters that are trained, in place of those of `state`.
      rows: the batch and its draws.
      state: gives the step, and the teacher where there is one.
    """
    process, denoise = self.bind(params, rows, state)
    return process.loss(rows["noise_keys"], denoise, rows["tokens"], rows["t"], rows.get("given"))

  def bind(self, params: Params, rows: Rows, state: TrainState) -> tuple[Process, Denoise]:
    """The process as of the step of `state`, with what it has learned, and the denoiser.

    Without `dropout_keys` in the rows there is no dropout.
    """
    process = self.process.at_step(state.step)
    if state.clip is not None:
      assert isinstance(process, Block)
      process = process.within(state.clip)
    denoise = Denoiser(
      self.network,
      params,
      self.head,
      rows.get("dropout_keys"),
      pattern=process.pattern,
      labels=rows.get("label"),
    )
    return bound(process, denoise)

  def after_update(self, state: TrainState) -> TrainState:
    """The state after a step, with what else this objective changes in it: nothing."""
    return state
