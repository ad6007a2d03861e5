"""A mixture of experts: a feedforward network of which each token uses a few parts.

A router scores the E experts for each token, the best K are run and their outputs are added with
weights (Shazeer et al. 2017). The choices among published routers are fields: softmax over all
experts (OLMoE, Qwen3, LLaDA-MoE), or sigmoid scores with a bias that takes part in the choice alone
and experts in groups of which few are searched (DeepSeek-V3, 2024, equations 12 to 16; LLaDA2).

Tokens are sorted by expert and pass grouped products, so that an expert works on its own tokens and
on no others. No token is ever dropped.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.sharding import PartitionSpec as P

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import NonNegativeInt, Positive, PositiveInt
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.networks import initialization
from dlm_jax.networks.grouped_products import grouped

CHOICES = {
  "router_scores": ("softmax", "sigmoid"),
  "router_bias": ("none", "choice", "weights"),
}


@dataclass(frozen=True, kw_only=True)
class ExpertMixture:
  """The fields of a mixture of experts.

  Training adds no loss that spreads tokens evenly over experts, and leaves a bias that takes part
  in the choice alone as it is.

  Attributes:
    experts: E, in each layer after the dense ones; 0 is a plain feedforward network.
    experts_per_token: K, how many of them a token uses.
    expert_width: the hidden layer of an expert; 0 is that of the feedforward network over K.
    shared_experts: how many more experts every token uses, with weight 1.
    dense_layers: how many of the first layers have a plain feedforward network.
    router_scores: what scores are of the products with the router's kernel: their `softmax` over
      the experts, or the `sigmoid` of each.
    router_bias: a number for each expert that is added to scores: `none`, to the score by which it
      is chosen (`choice`), or to the weights as well (`weights`).
    router_groups: groups of neighbouring experts; a group counts as the sum of its two best scores.
    router_groups_kept: how many groups a token may choose from.
    router_renormalized: the weights of the chosen experts are divided by their sum.
    router_scale: what the weights are multiplied with.
  """

  experts: NonNegativeInt = 0
  experts_per_token: PositiveInt = 2
  expert_width: NonNegativeInt = 0
  shared_experts: NonNegativeInt = 0
  dense_layers: NonNegativeInt = 0
  router_scores: str = "softmax"
  router_bias: str = "none"
  router_groups: PositiveInt = 1
  router_groups_kept: PositiveInt = 1
  router_renormalized: bool = True
  router_scale: Positive = 1.0

  def check_experts(self, depth: int) -> None:
    """Raises `UserError` where the fields do not fit one another, or a network of `depth`."""
    require_known("network.router_scores", self.router_scores, CHOICES["router_scores"])
    require_known("network.router_bias", self.router_bias, CHOICES["router_bias"])
    if not self.experts:
      if self.dense_layers or self.shared_experts:
        raise UserError(
          "network.dense_layers and network.shared_experts are those of a mixture of experts: set "
          "network.experts, or leave both at 0."
        )
      return
    if self.dense_layers >= depth:
      raise UserError(
        f"network.dense_layers {self.dense_layers} leaves no layer of network.depth {depth} to the "
        "experts: set it lower, or network.experts to 0."
      )
    if self.experts % self.router_groups or self.router_groups_kept > self.router_groups:
      raise UserError(
        f"network.router_groups {self.router_groups} must divide network.experts {self.experts} "
        f"and be no less than network.router_groups_kept {self.router_groups_kept}."
      )
    within = self.experts // self.router_groups * self.router_groups_kept
    if self.experts_per_token > within:
      raise UserError(
        f"network.experts_per_token {self.experts_per_token} is more than the {within} experts "
        "that a token may choose from."
      )


def route(logits: Array, bias: Array | None, mixture: ExpertMixture) -> tuple[Array, Array]:
  """The weights of the chosen experts, float32 `[..., K]`, and which they are, int32 `[..., K]`.

  Args:
    logits: float32 `[..., E]`, the products with the router's kernel.
    bias: `[E]`; None where `router_bias` is `none`.
    mixture: its fields.
  """
  scores = nn.softmax(logits) if mixture.router_scores == "softmax" else nn.sigmoid(logits)
  if mixture.router_bias == "weights":
    scores += bias
  choice = scores + bias if mixture.router_bias == "choice" else scores
  if mixture.router_groups_kept < mixture.router_groups:
    choice = _within_best_groups(choice, mixture)
  _, experts = jax.lax.top_k(choice, mixture.experts_per_token)
  weights = jnp.take_along_axis(scores, experts, axis=-1)
  if mixture.router_renormalized:
    weights /= jnp.sum(weights, axis=-1, keepdims=True) + 1e-20
  return weights * mixture.router_scale, experts


def _within_best_groups(scores: Array, mixture: ExpertMixture) -> Array:
  """`scores` `[..., E]`, minus infinity outside the groups that are kept."""
  grouped_scores = scores.reshape(*scores.shape[:-1], mixture.router_groups, -1)
  best = jax.lax.top_k(grouped_scores, min(2, grouped_scores.shape[-1]))[0].sum(-1)
  _, kept = jax.lax.top_k(best, mixture.router_groups_kept)
  inside = jnp.any(kept[..., None] == jnp.arange(mixture.router_groups), axis=-2)
  return jnp.where(inside[..., None], grouped_scores, -jnp.inf).reshape(scores.shape)


class Experts(nn.Module):
  """The sum of the chosen experts, each (silu(x W_gate) * x W_up) W_down.

  Attributes:
    mixture: its fields.
    hidden: width of the hidden layer of one expert.
    dtype: of the products; those of the router are float32.
    initialization: of its parameters, by name.
  """

  mixture: ExpertMixture
  hidden: int
  dtype: jnp.dtype
  initialization: str = "lecun"

  @nn.compact
  def __call__(self, x_BLD: Array) -> Array:
    number, width = self.mixture.experts, x_BLD.shape[-1]
    init = initialization.kernel(self.initialization)
    router = self.param("router", init, (width, number), jnp.float32)
    bias = None
    if self.mixture.router_bias != "none":
      bias = self.param("router_bias", nn.initializers.zeros, (number,), jnp.float32)
    init = initialization.kernel(self.initialization, batch_axis=(0,))
    gate = self.param("gate", init, (number, width, self.hidden), jnp.float32)
    up = self.param("up", init, (number, width, self.hidden), jnp.float32)
    down = self.param("down", init, (number, self.hidden, width), jnp.float32)
    # Rounded further, two experts of nearly one score would change places.
    exact = jax.lax.Precision.HIGHEST
    logits = jnp.dot(x_BLD.astype(jnp.float32), router.astype(jnp.float32), precision=exact)
    weights, chosen = route(logits, bias, self.mixture)
    return _over_mesh(x_BLD, weights, chosen, (gate, up, down), self.dtype)


def _over_mesh(
  x_BLD: Array, weights_BLK: Array, chosen_BLK: Array, kernels: tuple[Array, ...], dtype: jnp.dtype
) -> Array:
  """`mix` of the ambient mesh's pieces: no token leaves its device.

  Rows lie over the batch axes. Experts lie over the tensor axis where it divides their number: each
  device runs its own experts on all tokens of its rows that chose them, and the sums are added up.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return mix(x_BLD, weights_BLK, chosen_BLK, kernels, dtype)
  number = len(kernels[0])
  spread = number % mesh.shape["tensor"] == 0

  def local(x: Array, weights: Array, chosen: Array, kernels: tuple[Array, ...]) -> Array:
    if not spread:
      return mix(x, weights, chosen, kernels, dtype)
    first = jax.lax.axis_index("tensor") * len(kernels[0])
    return jax.lax.psum(mix(x, weights, chosen - first, kernels, dtype), "tensor")

  rows, stacked = P(BATCH_AXES), P("tensor" if spread else None)
  in_specs = (rows, rows, rows, (stacked,) * len(kernels))
  mapped = jax.shard_map(local, in_specs=in_specs, out_specs=rows, check_vma=False)
  return mapped(x_BLD, weights_BLK, chosen_BLK, kernels)


def mix(
  x_BLD: Array, weights_BLK: Array, chosen_BLK: Array, kernels: tuple[Array, ...], dtype: jnp.dtype
) -> Array:
  """The weighted sum of the chosen experts that are here, float32 `[B, L, D]`.

  Args:
    x_BLD: hidden states.
    weights_BLK, chosen_BLK: of `route`; a choice outside 0..E-1 adds nothing.
    kernels: gate and up `[E, D, F]`, down `[E, F, D]`.
    dtype: of the products.
  """
  gate, up, down = kernels
  number, (width, per_token) = len(gate), (x_BLD.shape[-1], chosen_BLK.shape[-1])
  here = ((chosen_BLK >= 0) & (chosen_BLK < number)).reshape(-1)
  experts = jnp.where(here, chosen_BLK.reshape(-1), number)
  sizes = jnp.zeros(number, jnp.int32).at[experts].add(1, mode="drop")
  order = jnp.argsort(experts)  # a stable sort
  back = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)), unique_indices=True)
  product = partial(grouped, sizes=sizes, dtype=dtype)
  rows = _only(here, jnp.repeat(x_BLD.reshape(-1, width), per_token, axis=0))
  rows = _permuted(rows, order, back)
  out = product(nn.silu(product(rows, gate)) * product(rows, up), down)
  out = _only(here, _permuted(out, back, order)).astype(jnp.float32)
  return jnp.sum(out.reshape(*chosen_BLK.shape, width) * weights_BLK[..., None], axis=-2)


def _only(here: Array, rows: Array) -> Array:
  """`rows` where they are `here`, else 0: neither their value nor their gradient matters there."""
  return jnp.where(here[:, None], rows, 0)


@jax.custom_vjp
def _permuted(rows: Array, order: Array, back: Array) -> Array:
  """`rows[order]`, where `back` undoes `order`: its gradient is taken in turn, never scattered."""
  del back
  return rows[order]


_permuted.defvjp(
  lambda rows, order, back: (rows[order], back),
  lambda back, gradient: (gradient[back], None, None),
)
