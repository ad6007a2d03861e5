"""Clipping a gradient at what gradients have lately been, instead of at a fixed norm."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dlm_jax.core.types import Params

# How many norms are remembered, and what stands for those before the first step: so much that for
# the first WINDOW * quantile steps nothing is clipped. Both as in Plaid.
WINDOW, BEFORE = 1000, 1e8


class RecentNorms(NamedTuple):
  """The state of `clip_by_quantile`.

  Attributes:
    recent_norms: float32 `[WINDOW]`, of the latest gradients, before they were clipped.
    updates: so far.
  """

  recent_norms: Array
  updates: Array


def clip_by_quantile(quantile: float) -> optax.GradientTransformation:
  """Scales a gradient down to that quantile of the global norms of the latest `WINDOW` gradients.

  Gulrajani and Hashimoto 2023 (Plaid), whose code has 0.95 of 1000.
  """

  def init(params: Params) -> RecentNorms:
    del params
    return RecentNorms(jnp.full(WINDOW, BEFORE, jnp.float32), jnp.int32(0))

  def update(
    updates: Params, state: RecentNorms, params: Params | None = None
  ) -> tuple[Params, RecentNorms]:
    del params
    norm = optax.tree.norm(updates)
    largest = jnp.quantile(state.recent_norms, quantile)
    factor = jnp.minimum(1.0, largest / jnp.maximum(norm, jnp.finfo(jnp.float32).tiny))
    norms = state.recent_norms.at[state.updates % WINDOW].set(norm)
    return jax.tree.map(lambda u: u * factor, updates), RecentNorms(norms, state.updates + 1)

  return optax.GradientTransformation(init, update)
