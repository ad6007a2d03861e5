"""Classifier-free guidance of discrete diffusion (Schiff et al. 2024; Nisonoff et al. 2024).

  p(z_s | z_t, label) to the power g, times p(z_s | z_t) to the power 1 - g, normalised

g = 1 is the conditional model, g = 0 the one without a label, and above 1 samples are more like
their label than the model thinks. Where every token is revealed once, the predictions of the tokens
are combined, and when they are revealed stays as it is (their eq. 9); elsewhere the posteriors.

The two networks are one denoiser whose output has twice the columns, and the process that reads it
wraps the one that is guided: so every sampler, filter and order runs as without guidance.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import PyTree
from dlm_jax.processes.base import Denoise, Prediction, Process
from dlm_jax.processes.draws import row_categorical
from dlm_jax.processes.facets import HasJumpRates, HasPosterior, RevealsOnce
from dlm_jax.processes.wrapper import Wrapper
from dlm_jax.samplers.base import Extends, hold, processes_with

# What a filter took out of one of two distributions alone counts as so improbable, not as 0.
LEAST = -60.0


@dataclass(frozen=True, kw_only=True)
class Guided(Wrapper):
  """A process that is read from the outputs with a label and without it, side by side.

  Attributes:
    scale: g.
  """

  scale: float

  def both(self, output: Array, z: Array, t: Array) -> tuple[Prediction, Prediction]:
    """The predictions with the label and without it."""
    conditional, unconditional = jnp.split(output, 2, axis=-1)
    return self.inner.predict(conditional, z, t), self.inner.predict(unconditional, z, t)


@dataclass(frozen=True, kw_only=True)
class GuidedPrediction(Guided):
  """Where each token is revealed once: the predictions are combined into one."""

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    with_label, without = self.both(output, z, t)
    combined = combine(with_label.log_probs, without.log_probs, self.scale)
    return with_label.with_log_probs(jax.nn.log_softmax(combined))


@dataclass(frozen=True, kw_only=True)
class GuidedPosterior(Guided):
  """Elsewhere: posteriors are combined, of predictions that are stacked along a first axis."""

  def __post_init__(self) -> None:
    super().__post_init__()
    if not isinstance(self.inner, HasPosterior) or not isinstance(self.inner, HasJumpRates):
      raise UserError(
        "classifier-free guidance is not defined for the process "
        f"{type(self.inner).__name__}: it needs one that reveals each token once, or has a "
        f"posterior: {', '.join(guided_processes())} (or block around one of these)."
      )

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    return jax.tree.map(lambda *pair: jnp.stack(pair), *self.both(output, z, t))

  def log_posterior(self, prediction: Prediction, z: Array, t: Array, s: Array) -> Array:
    assert isinstance(self.inner, HasPosterior)
    with_label, without = (self.inner.log_posterior(one, z, t, s) for one in _unstacked(prediction))
    return jax.nn.log_softmax(combine(with_label, without, self.scale))

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    assert isinstance(self.inner, HasJumpRates)
    with_label, without = (self.inner.log_jump_rates(one, z, t) for one in _unstacked(prediction))
    return combine(with_label, without, self.scale)

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    return hold(row_categorical(key, self.log_posterior(prediction, z, t, s)), z, given)


def guide(
  process: Process, conditional: Denoise, unconditional: Denoise, scale: float
) -> tuple[Process, Denoise]:
  """The process and the denoiser to sample from, in place of `process` and `conditional`.

  Args:
    process: one that reveals each token once, or has a posterior.
    conditional, unconditional: `denoise(z, t) -> output` with and without the label.
    scale: g.

  Raises:
    UserError: guidance is not defined for the process.
  """
  if scale == 1.0:
    return process, conditional
  guided = GuidedPrediction if isinstance(process, RevealsOnce) else GuidedPosterior
  pair: Denoise = _Pair(conditional, unconditional)
  if isinstance(conditional, Extends) and isinstance(unconditional, Extends):
    pair = _ExtendingPair(conditional, unconditional, (conditional, unconditional))
  return guided(inner=process, scale=scale), pair


def evaluations(process: Process) -> int:
  """Network evaluations each time a sampler asks once."""
  return 2 if isinstance(process, Guided) else 1


def guided_processes() -> list[str]:
  """The names of the processes that guidance is defined for."""
  return sorted({*processes_with(RevealsOnce), *processes_with(HasPosterior)})


def combine(conditional: Array, unconditional: Array, scale: float) -> Array:
  """scale conditional + (1 - scale) unconditional, of logarithms; -inf where the first is."""
  mixed = scale * conditional + (1.0 - scale) * jnp.maximum(unconditional, LEAST)
  return jnp.where(jnp.isneginf(conditional), -jnp.inf, mixed)


def _unstacked(prediction: Prediction) -> tuple[Prediction, Prediction]:
  return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], prediction) for i in range(2))


@dataclass(frozen=True)
class _Pair:
  """Both networks as one: the columns of the conditional output, then of the other."""

  conditional: Denoise
  unconditional: Denoise

  def __call__(self, z: Array, t: Array, /, **conditioning: Array | None) -> Array:
    outputs = [one(z, t, **conditioning) for one in (self.conditional, self.unconditional)]
    return jnp.concatenate(outputs, axis=-1)


@dataclass(frozen=True)
class _ExtendingPair(_Pair):
  """The same of networks that keep keys and values, which are also in `caching`."""

  caching: tuple[Extends, Extends]

  def empty_cache(self, rows: int, length: int) -> PyTree:
    return tuple(one.empty_cache(rows, length) for one in self.caching)

  def extend(
    self, cache: PyTree, z: Array, t: Array, start: Array | int, size: int
  ) -> tuple[Array, PyTree]:
    results = [one.extend(c, z, t, start, size) for one, c in zip(self.caching, cache, strict=True)]
    outputs, caches = zip(*results, strict=True)
    return jnp.concatenate(outputs, axis=-1), caches
