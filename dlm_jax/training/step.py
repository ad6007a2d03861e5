"""The training step: a pure function of (state, batch)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh
from jax.stages import Wrapped

from dlm_jax.core.types import Params
from dlm_jax.distributed.sharding import batch_sharding, replicated
from dlm_jax.processes.base import Process
from dlm_jax.processes.parts.times import Times
from dlm_jax.training.objective import Objective, Rows
from dlm_jax.training.state import TrainState, apply_gradients

Batch = dict[str, Array]
Metrics = dict[str, Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  times: Times,
  *,
  seed: int,
  accumulate: int = 1,
  ema_decay: float,
  ema_warmup: bool = True,
) -> Step:
  """Returns `step(state, batch) -> (state, metrics)`.

  The batch holds `tokens` int32 `[B, L]` and may hold `given` bool `[B, L]`: positions that are
  neither noised nor scored, `unscored` bool `[B, L]`: those that are noised and not scored, and
  `label` int32 `[B]`. The loss is the mean of the objective over all other positions of the global
  batch, in nats a token, whatever the number of devices and of micro-batches. A step that would
  leave anything in the state that is not finite is left out.

  Args:
    objective: what is minimised.
    optimizer: turns gradients into updates.
    times: how the times t of the rows are drawn, and weighted.
    seed: all draws of a step are a function of (seed, step), those of a row of (seed, step, row).
    accumulate: micro-batches a step; divides B.
    ema_decay, ema_warmup: of the average of the parameters, see `apply_gradients`.
  """

  def mean_loss(params: Params, rows: Rows, scored: Array, state: TrainState) -> Array:
    loss = objective(params, rows, state)
    if "unscored" in rows:
      loss = jnp.where(rows["unscored"], 0.0, loss)
    return jnp.sum(loss * rows["weight"][:, None]) / scored

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    rows = batch | _draws(key, batch["tokens"].shape[0], times, objective.process)
    scored = _count_scored(batch)
    gradient = jax.value_and_grad(partial(mean_loss, state=state))
    if accumulate == 1:
      loss, gradients = gradient(state.params, rows, scored)
    else:
      parts = jax.tree.map(lambda a: _micro_batches(a, accumulate), rows)
      loss, gradients = _accumulate(gradient, state.params, parts, scored)
    norm = optax.tree.norm(gradients)
    ok = jnp.isfinite(loss) & jnp.isfinite(norm)
    state = apply_gradients(state, gradients, ok, optimizer, ema_decay, ema_warmup)
    metrics = {
      "loss": loss,
      "gradient_norm": norm,
      "skipped": state.skipped,
      "skipped_in_a_row": state.skipped_in_a_row,
    }
    return objective.after_update(state), metrics

  return step


def compile_step(step: Step, abstract_state: TrainState, mesh: Mesh) -> Wrapped:
  """The step under `jax.jit`, the state donated and laid out as `abstract_state` says."""
  layout = jax.tree.map(lambda leaf: leaf.sharding, abstract_state)
  return jax.jit(
    step,
    in_shardings=(layout, batch_sharding(mesh)),
    out_shardings=(layout, replicated(mesh)),
    donate_argnums=0,
  )


def _draws(key: Array, rows: int, times: Times, process: Process) -> dict[str, Array]:
  """The random inputs of a step, a value or a key for each row of the global batch."""
  time_key, noise_key, dropout_key = jax.random.split(key, 3)
  t, weight = times.draw(time_key, rows, process)
  return {
    "t": t,
    "weight": weight,
    "noise_keys": jax.random.split(noise_key, rows),
    "dropout_keys": jax.random.split(dropout_key, rows),
  }


def _count_scored(batch: Batch) -> Array:
  """Positions that are neither given nor unscored, at least 1, float32."""
  left_out = [batch[name] for name in ("given", "unscored") if name in batch]
  if not left_out:
    return jnp.float32(batch["tokens"].size)
  scored = ~jnp.any(jnp.stack(left_out), axis=0)
  return jnp.maximum(jnp.sum(scored), 1).astype(jnp.float32)


def _micro_batches(rows: Array, number: int) -> Array:
  """`[B, ...]` to `[number, B / number, ...]`, each taking every number-th row.

  Strided, because consecutive rows live on one device and would leave the others idle.
  """
  return jnp.swapaxes(rows.reshape(-1, number, *rows.shape[1:]), 0, 1)


def _accumulate(gradient: Callable, params: Params, parts: Rows, scored: Array) -> tuple:
  """Sums losses and gradients over micro-batches, one at a time."""

  def body(total: tuple, rows: Rows) -> tuple[tuple, None]:
    return jax.tree.map(jnp.add, total, gradient(params, rows, scored)), None

  zeros = (jnp.float32(0), jax.tree.map(jnp.zeros_like, params))
  return jax.lax.scan(body, zeros, parts)[0]
