"""Everything a run carries from step to step, and nothing else: what is checkpointed."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import PartitionSpec

from dlm_jax.core.finite import all_finite
from dlm_jax.core.types import Params, PyTree
from dlm_jax.distributed.sharding import Rules


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
  """The train state, a pytree.

  Attributes:
    step: steps taken, skipped ones included; all randomness of step n is a function of (seed, n).
    params: float32 parameters of the network.
    ema: their exponential moving average, what is evaluated and sampled.
    opt_state: of the optimizer.
    skipped: steps that were left out, since something of them or after them was not finite.
    skipped_in_a_row: how many of them are the latest steps.
    teacher: parameters that a student is held against, None where nothing is distilled.
    clip: the interval of times `[2]` that block diffusion trains on, None where it is not searched.
  """

  step: Array
  params: Params
  ema: Params
  opt_state: PyTree
  skipped: Array
  skipped_in_a_row: Array
  teacher: Params | None = None
  clip: Array | None = None


# What of it follows no parameter.
SHARDING_RULES: Rules = ((r"^clip$", PartitionSpec()),)


def init(
  params: Params,
  optimizer: optax.GradientTransformation,
  *,
  is_teacher: bool = False,
  clip: tuple[float, float] | None = None,
) -> TrainState:
  """The state before the first step, of a student that starts as its teacher if `is_teacher`.

  `clip` is the first interval of times, where it is searched. No two leaves share a buffer, as
  donation demands.
  """
  return TrainState(
    step=jnp.int32(0),
    params=params,
    ema=jax.tree.map(jnp.copy, params),
    opt_state=optimizer.init(params),
    skipped=jnp.int32(0),
    skipped_in_a_row=jnp.int32(0),
    teacher=jax.tree.map(jnp.copy, params) if is_teacher else None,
    clip=None if clip is None else jnp.asarray(clip, jnp.float32),
  )


def apply_gradients(
  state: TrainState,
  gradients: Params,
  ok: Array,
  optimizer: optax.GradientTransformation,
  ema_decay: float,
  ema_warmup: bool = True,
) -> TrainState:
  """One update of parameters, optimizer and average; all three are kept if one is not finite.

  What counts is what would become the state: a finite gradient can still give parameters, moments
  or an average that are not. `optax.apply_if_finite` looks at updates alone, and lets the n-th bad
  one through.

  Args:
    state: before the step.
    gradients: of its parameters.
    ok: whether the step may be applied as far as is known; False keeps the three as well.
    optimizer: turns gradients into updates.
    ema_decay: of the average.
    ema_warmup: whether that is reached after a warm-up, see `warm_decay`.
  """

  def updated() -> tuple[Params, Params, PyTree]:
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    decay = warm_decay(state.step - state.skipped, ema_decay) if ema_warmup else ema_decay
    ema = jax.tree.map(lambda old, new: old + (1.0 - decay) * (new - old), state.ema, params)
    return params, ema, opt_state

  new, old = updated(), (state.params, state.ema, state.opt_state)
  ok &= all_finite(new)
  params, ema, opt_state = jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, old)
  bad = (~ok).astype(jnp.int32)
  return dataclasses.replace(
    state,
    step=state.step + 1,
    params=params,
    ema=ema,
    opt_state=opt_state,
    skipped=state.skipped + bad,
    skipped_in_a_row=(state.skipped_in_a_row + bad) * bad,
  )


def warm_decay(updates: Array, decay: float) -> Array:
  """min(decay, (1 + n) / (10 + n)) after n updates: an average of few updates follows them fast."""
  return jnp.minimum(decay, (1.0 + updates) / (10.0 + updates))
