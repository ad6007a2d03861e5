"""What a noise process is, and the draws and sums that every process shares.

A process knows nothing of the network. It receives `denoise`, a plain callable with the parameters
already bound, so that a test can pass an exact posterior and a sampler a guided or cached one:

  denoise(z, t) -> output                 what the output means is the process's business
  denoise.score(z, t, score, operands, where) -> [B, L]               optional, see `score_outputs`
  denoise.learned -> pytree               what is learned beside the network, see `bind`

A process may bind more arguments, see `condition`. One whose network must not see every position at
every position says so by an attribute `pattern`, and one whose `nelbo` is -log p(x) itself by a
true attribute `exact`; see the functions of these names.

What a process learns (embeddings, a schedule) is drawn by its method `init(key)`, lives with the
parameters of the network under `process`, and is put in place by its method `bind(params)`. A
process without these methods learns nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, Pattern
from dlm_jax.schedules.alpha_schedules import Schedule

Denoise = Callable[..., Any]


class Process(Protocol):
  """A noise process: `q(z_t | x)`, the bound it gives and the reverse transition.

  Shapes: `x` int32 `[B, L]`; `t` and `s < t` float32 `[B]` or `[B, L]`; `given` bool `[B, L]` or
  None. A given position (a prompt, the known part of an infilling, padding) is never noised, never
  scored and never changed. `key` is one key or `[B]` keys, see `row_keys`.
  """

  vocab_size: int  # tokens the data can hold, mask excluded unless mask_id lies inside
  num_embeddings: int  # rows the network's input embedding needs
  schedule: Schedule

  def prior(self, key: Array, shape: tuple[int, int]) -> Array:
    """z at t = 1, `[B, L]`."""

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    """Draws z_t ~ q(z_t | x)."""

  def log_probs(self, output: Any, z: Array, t: Array) -> Array:
    """log p(x | z) `[B, L, V]` float32, normalised, from the raw network output."""

  def nelbo(
    self, key: Array, denoise: Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The integrand of the bound at `t`, `[B, L]` nats, 0 at given positions.

    Its mean over t ~ U[0, 1] and noise, plus `constants()` a scored position, summed over L, is at
    least -log p(x), with equality for the exact denoiser.
    """

  def constants(self) -> float:
    """What the bound adds a scored position in nats, whatever the network."""

  def loss(
    self, key: Array, denoise: Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """What training minimises, `[B, L]`: `nelbo` unless the config asks for another weighting."""

  def reverse(
    self, key: Array, output: Any, z: Array, t: Array, s: Array, given: Array | None = None
  ) -> Array:
    """Draws z_s ~ p(z_s | z_t)."""


def pattern(process: Process) -> Pattern:
  """Which position must see which in the network of `process`: all see all unless it says else."""
  return getattr(process, "pattern", FULL)


def exact(process: Process) -> bool:
  """Whether `nelbo` is -log p(x) itself, not a bound, and draws nothing."""
  return getattr(process, "exact", False)


def init(process: Process, key: Array) -> Any:
  """The first values of what `process` learns, a pytree; empty for one that learns nothing."""
  return process.init(key) if hasattr(process, "init") else {}


def bind(process: Process, denoise: Denoise) -> tuple[Process, Denoise]:
  """The process with what it has learned in place, and the denoiser as the process reads it.

  What is learned is read from `denoise.learned`. A process may wrap the network by its method
  `precondition(denoise)`: scale its input, add to its output.
  """
  if getattr(denoise, "learned", None) is None:
    return process, denoise
  process = process.bind(denoise.learned)
  return process, process.precondition(denoise) if hasattr(process, "precondition") else denoise


def at_step(process: Process, step: Array) -> Process:
  """The process at a step of training, for one whose loss changes on the way."""
  return process.at_step(step) if hasattr(process, "at_step") else process


def network_fields(process: Process) -> dict[str, Any]:
  """The fields of the network's config that follow from the process: the form of its input."""
  if hasattr(process, "network_fields"):
    return process.network_fields
  return {"vocab_size": process.vocab_size, "num_embeddings": process.num_embeddings}


def interface(process: Process) -> NetworkInterface:
  """What `process` needs its network to take and to give."""
  fields = dict(network_fields(process))
  return NetworkInterface(columns=fields.pop("vocab_size"), **fields)


def is_continuous(process: Process) -> bool:
  """Whether the state z is float `[B, L, W]`, read as tokens by `process.nearest_tokens(z)`."""
  return hasattr(process, "nearest_tokens")


def evaluations(process: Process) -> int:
  """Network evaluations of one draw of the bound: self-conditioning takes two."""
  return 2 if getattr(process, "self_conditioning", 0) else 1


def row_keys(key: Array, rows: int) -> Array:
  """One key a row, `[rows]`: a single key is split, `[rows]` keys are taken as they are.

  What row i draws depends on its own key alone. So a batch cut into micro-batches, or spread over
  any number of devices, sees the same noise, and a sample does not depend on its neighbours.
  """
  return jax.random.split(key, rows) if key.ndim == 0 else key


def split_rows(key: Array, rows: int, num: int) -> Array:
  """`[num, rows]` independent row keys, for a process that draws more than once."""
  return jax.vmap(lambda k: jax.random.split(k, num), out_axes=1)(row_keys(key, rows))


def row_uniform(key: Array, shape: tuple[int, ...]) -> Array:
  """U[0, 1) draws of `shape`, float32, a key a row."""
  draw = jax.vmap(lambda k: jax.random.uniform(k, shape[1:]))
  return draw(row_keys(key, shape[0]))


def row_normal(key: Array, shape: tuple[int, ...]) -> Array:
  """Standard normal draws of `shape`, float32, a key a row."""
  draw = jax.vmap(lambda k: jax.random.normal(k, shape[1:]))
  return draw(row_keys(key, shape[0]))


def row_categorical(key: Array, logits: Array) -> Array:
  """Draws from softmax(`logits` [B, ..., V]) in float32 with high-precision Gumbel noise, int32.

  Plain float32 Gumbel noise is capped near 16, bf16 noise far below: both cut the tail off, and
  flatter generative perplexity (Zheng et al. 2024, "Masked diffusion models are secretly ...").
  """
  draw = jax.vmap(lambda k, row: jax.random.categorical(k, row, mode="high"))
  return draw(row_keys(key, logits.shape[0]), logits.astype(jnp.float32))


def substituted(logits: Array, z: Array, mask_id: int) -> Array:
  """log p(x | z) `[B, L, V]` with the softmax at masked positions; a token is certain of itself.

  The substitution parameterization (SUBS, MDLM).
  """
  certain = jnp.where(jax.nn.one_hot(z, logits.shape[-1], dtype=bool), 0.0, -jnp.inf)
  predicted = jax.nn.log_softmax(logits.astype(jnp.float32))
  return jnp.where((z == mask_id)[..., None], predicted, certain)


def per_position(t: Array) -> Array:
  """`t` of shape `[B]` or `[B, L]` as an array that broadcasts against `[B, L]`."""
  return t[:, None] if t.ndim == 1 else t


def condition(denoise: Denoise, **conditioning: Any) -> Denoise:
  """`denoise` and its methods with more arguments bound, such as the clean tokens of `block`."""
  bound = partial(denoise, **conditioning)
  if hasattr(denoise, "score"):
    bound.score = partial(denoise.score, **conditioning)
  return bound


def cross_entropy(
  process: Process,
  denoise: Denoise,
  z: Array,
  t: Array,
  targets: Array,
  where: Array,
  forbidden: int | None = None,
) -> Array:
  """-log p(`targets` | z) in nats `[B, L]` at the positions `where`, 0 elsewhere.

  A denoiser that can score positions without holding `[B, L, V]` in float32 is asked for the
  softmax cross-entropy of its logits with the column `forbidden` (the mask, if it lies inside the
  vocabulary) taken out.
  """
  if hasattr(denoise, "score"):
    return denoise.score(z, t, nll(forbidden), (targets,), where)
  log_p = process.log_probs(denoise(z, t), z, t)
  picked = jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
  return jnp.where(where, -picked, 0.0)


def nll(forbidden: int | None) -> Callable[[Array, Array], Array]:
  """-log softmax(logits)[target] with the column `forbidden` taken out."""

  def score(logits: Array, targets: Array) -> Array:
    if forbidden is not None:
      logits = logits.at[..., forbidden].set(-jnp.inf)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked

  return score


def score_outputs(
  denoise: Denoise,
  z: Array,
  t: Array,
  score: Callable[..., Array],
  operands: tuple[Array, ...],
  where: Array,
) -> Array:
  """`score(output, *operands)` `[B, L]` at the positions `where`, 0 elsewhere.

  `score` takes `[..., V]` and, for each operand, `[...]`, and treats every position by itself. So a
  denoiser that can apply its head to some positions at a time offers a method
  `score(z, t, score, operands, where)`, which must equal this function.
  """
  if hasattr(denoise, "score"):
    return denoise.score(z, t, score, operands, where)
  return jnp.where(where, score(denoise(z, t), *operands), 0.0)
