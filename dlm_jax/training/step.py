"""The training step: a pure function of (state, batch)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dlm_jax.model.denoiser import Denoiser, bound
from dlm_jax.model.head import Head
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Process
from dlm_jax.processes.parts.times import Times
from dlm_jax.training import distillation
from dlm_jax.training.distillation import DistillationConfig
from dlm_jax.training.state import TrainState, apply_gradients

Batch = dict[str, Array]
Metrics = dict[str, Array]


def make_step(
  process: Process,
  network: Network,
  optimizer: optax.GradientTransformation,
  times: Times,
  *,
  seed: int,
  head: Head,
  accumulate: int,
  ema_decay: float,
  distilled: DistillationConfig | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
  """Returns `step(state, batch) -> (state, metrics)`.

  The batch holds `tokens` int32 `[B, L]` and may hold `given` bool `[B, L]`: positions that are
  neither noised nor scored, and `label` int32 `[B]`. The loss is the mean of `process.loss` over
  all other positions of the global batch, in nats a token, whatever the number of devices and of
  micro-batches.

  Args:
    process, network, optimizer, times: what is trained, and how.
    seed: all draws of a step are a function of (seed, step), those of a row of (seed, step, row).
    head: how the head is applied.
    accumulate: micro-batches a step; divides B.
    ema_decay: of the average of the parameters.
    distilled: how the state's teacher is distilled, in place of the process's own loss.
  """

  def bound_to(
    params: Any, rows: dict[str, Array], process: Process, counter: Array | None = None
  ) -> tuple[Process, Denoiser]:
    denoise = Denoiser(
      network,
      params,
      head,
      rows["dropout_keys"],
      pattern=process.pattern,
      labels=rows.get("label"),
      overflow_counter=counter,
    )
    return bound(process, denoise)

  def objective(
    params: Any, counter: Array, rows: dict[str, Array], scored: Array, state: TrainState
  ) -> Array:
    stage = process.at_step(state.step)
    learned, denoise = bound_to(params, rows, stage, counter)
    args = rows["tokens"], rows["t"]
    given = rows.get("given")
    if distilled is None:
      loss = learned.loss(rows["noise_keys"], denoise, *args, given)
    else:
      _, teacher = bound_to(state.teacher, rows | {"dropout_keys": None}, stage)
      gap = distillation.gap(distilled, state.step)
      loss = distillation.loss(learned, rows["noise_keys"], denoise, teacher, *args, gap, given)
    loss *= rows["weight"][:, None]
    return jnp.sum(loss) / scored

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    rows = batch | _draws(key, batch["tokens"].shape[0], times, process)
    scored = _count_scored(batch)
    gradient = partial(_gradient, partial(objective, state=state))
    if accumulate == 1:
      (loss, overflow), gradients = gradient(state.params, rows, scored)
    else:
      parts = jax.tree.map(lambda a: _micro_batches(a, accumulate), rows)
      loss, overflow, gradients = _accumulate(gradient, state.params, parts, scored)
    norm = optax.tree.norm(gradients)
    ok = jnp.isfinite(loss) & jnp.isfinite(norm)
    state = apply_gradients(state, gradients, ok, optimizer, ema_decay)
    if distilled is not None:
      state = distillation.with_next_teacher(distilled, state)
    metrics = {
      "loss": loss,
      "gradient_norm": norm,
      "skipped": state.skipped,
      "skipped_in_a_row": state.skipped_in_a_row,
    }
    if head.capacity:
      metrics["head_overflow"] = overflow
    return state, metrics

  return step


def _gradient(objective: Callable[..., Array], params: Any, *rest: Any) -> tuple:
  """((loss, positions beyond the head's slots), gradients); the plain path took such positions."""
  both = jax.value_and_grad(objective, argnums=(0, 1))
  loss, (gradients, overflow) = both(params, jnp.float32(0), *rest)
  return (loss, overflow.astype(jnp.int32)), gradients


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
  """Positions that are not given, at least 1, float32."""
  if "given" not in batch:
    return jnp.float32(batch["tokens"].size)
  return jnp.maximum(jnp.sum(~batch["given"]), 1).astype(jnp.float32)


def _micro_batches(rows: Array, number: int) -> Array:
  """`[B, ...]` to `[number, B / number, ...]`, each taking every number-th row.

  Strided, because consecutive rows live on one device and would leave the others idle.
  """
  return jnp.swapaxes(rows.reshape(-1, number, *rows.shape[1:]), 0, 1)


def _accumulate(gradient: Callable, params: Any, parts: Any, scored: Array) -> tuple:
  """Sums losses, overflows and gradients over micro-batches, one at a time."""

  def body(total: tuple, rows: dict[str, Array]) -> tuple[tuple, None]:
    (loss, overflow), gradients = gradient(params, rows, scored)
    return jax.tree.map(jnp.add, total, (loss, overflow, gradients)), None

  zeros = (jnp.float32(0), jnp.int32(0), jax.tree.map(jnp.zeros_like, params))
  return jax.lax.scan(body, zeros, parts)[0]
