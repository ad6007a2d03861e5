"""Classifier-free guidance of discrete diffusion (Schiff et al. 2024; Nisonoff et al. 2024).

  p(z_s | z_t, label) to the power g, times p(z_s | z_t) to the power 1 - g, normalised

g = 1 is the conditional model, g = 0 the one without a label, and above 1 samples are more like
their label than the model thinks. Where every token is revealed once, the predictions of the tokens
are combined, and when they are revealed stays as it is (their eq. 9); elsewhere the posteriors.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.processes import base as noise
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, filters

POSTERIOR = "log_posterior"
# What a filter took out of one of two distributions alone counts as so improbable, not as 0.
LEAST = -60.0


def guide(
  process: Process, conditional: Denoise, unconditional: Denoise, scale: float
) -> tuple[Process, Denoise]:
  """The process and the denoiser to sample from, in place of `process` and `conditional`.

  Args:
    process: one that reveals each token once, or has a posterior, `log_posterior`.
    conditional, unconditional: `denoise(z, t) -> output` with and without the label.
    scale: g.

  Raises:
    UserError: guidance is not defined for the process.
  """
  if scale == 1.0:
    return process, conditional
  if base.reveals_once(process):
    return process, _GuidedPrediction(process, conditional, unconditional, scale)
  if not hasattr(process, POSTERIOR):
    raise UserError(
      f"classifier-free guidance is not defined for the process {type(process).__name__}: it needs "
      "one that reveals each token once, or has a posterior: "
      f"{', '.join(base.processes_with(base.REVEALS_ONCE, POSTERIOR))}."
    )
  both = lambda z, t: jnp.stack([conditional(z, t), unconditional(z, t)])  # noqa: E731
  return _GuidedPosterior(process, scale), both


def evaluations(scale: float) -> int:
  """Of the network, each time a sampler asks once."""
  return 1 if scale == 1.0 else 2


def combine(conditional: Array, unconditional: Array, scale: float) -> Array:
  """scale conditional + (1 - scale) unconditional, of logarithms; -inf where the first is."""
  mixed = scale * conditional + (1.0 - scale) * jnp.maximum(unconditional, LEAST)
  return jnp.where(jnp.isneginf(conditional), -jnp.inf, mixed)


@dataclass(frozen=True)
class _GuidedPrediction:
  """`denoise(z, t)` whose output stands for the combined predictions."""

  process: Process
  conditional: Denoise
  unconditional: Denoise
  scale: float

  def __call__(self, z: Array, t: Array) -> Any:
    with_label, without = (
      self.process.log_probs(denoise(z, t), z, t)
      for denoise in (self.conditional, self.unconditional)
    )
    log_probs = jax.nn.log_softmax(combine(with_label, without, self.scale))
    return filters.output_of(self.process, log_probs, z, t)


@dataclass(frozen=True)
class _GuidedPosterior:
  """The process, with outputs `[2, B, L, V]`, with and without the label, in place of one.

  What is not defined here is that of the process.
  """

  process: Process
  scale: float

  def __getattr__(self, name: str) -> Any:
    return getattr(self.process, name)

  def log_probs(self, output: Array, z: Array, t: Array) -> Array:
    return jnp.stack([self.process.log_probs(one, z, t) for one in output])

  def output_of(self, log_probs: Array, z: Array, t: Array) -> Array:
    return jnp.stack([filters.output_of(self.process, one, z, t) for one in log_probs])

  def reverse(
    self, key: Array, output: Array, z: Array, t: Array, s: Array, given: Array | None = None
  ) -> Array:
    with_label, without = (self.process.log_posterior(one, z, t, s) for one in output)
    drawn = noise.row_categorical(key, combine(with_label, without, self.scale))
    return drawn if given is None else jnp.where(given, z, drawn)

  def log_jump_rates(self, output: Array, z: Array, t: Array) -> Array:
    with_label, without = (self.process.log_jump_rates(one, z, t) for one in output)
    return combine(with_label, without, self.scale)
