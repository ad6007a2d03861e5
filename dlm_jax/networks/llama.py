"""The decoder of LLaMA and Qwen, as diffusion language models use it (LLaDA, Dream, SDAR, A2D).

RMSNorm before attention and feedforward, rotary positions, SwiGLU, grouped-query attention, and no
biases but those of queries, keys and values (Touvron et al. 2023; Qwen3 report, 2025). Any
attention pattern. Its Flax modules are in `decoder.py`.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.sharding import PartitionSpec as P

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal, Full, Pattern
from dlm_jax.core.types import Params
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.sharding import Rules, constrain
from dlm_jax.networks import attention, base, decoder, layers, presets, stack
from dlm_jax.networks.base import Inputs, MatrixAxes


@dataclass(frozen=True, kw_only=True)
class Llama(base.LinenNetwork):
  """The shape of a LLaMA decoder; a size of 0 follows from the others.

  Attributes:
    width: D.
    heads: H, of the queries.
    kv_heads: G, of the keys and values, a divisor of H; 0 is H.
    head_width: K, even; 0 is D / H.
    depth: N layers.
    feedforward_width: F, the hidden layer of SwiGLU; 0 is 8/3 D, in 64s.
    epsilon: of every RMSNorm.
    rotary_base: the theta of rotary embedding.
    rotary_width: how many of the K entries of a head are rotated, even; 0 is all.
    qkv_bias: biases on queries, keys and values (Qwen2).
    qk_norm: RMSNorm of queries and keys over each head, before the rotation (Qwen3).
    tied_head: the head is the transposed embedding.
    time_conditioned: the embedding of the time is added to that of every token; LLaMA has none.
    condition_width: size of the embedding of the time.
    label_dropout: how often training takes a label away, so that the network can do without. The
      embedding of a label is added to that of every token.
    dropout: rate on both residual branches.
    dtype: compute dtype; `auto` is bfloat16 on accelerators and float32 on CPU.
    attention: kernel, see `attention.choose`; `auto` on a CPU is `flat`.
    unroll: how many layers one step of the scan holds; 0 is all of them.
    remat: what the backward pass keeps, see `stack`.
  """

  width: int = 768
  heads: int = 12
  kv_heads: int = 0
  head_width: int = 0
  depth: int = 12
  feedforward_width: int = 0
  epsilon: float = 1e-5
  rotary_base: float = 1e4
  rotary_width: int = 0
  qkv_bias: bool = False
  qk_norm: bool = False
  tied_head: bool = False
  time_conditioned: bool = False
  condition_width: int = 128
  label_dropout: float = 0.1
  dropout: float = 0.0
  dtype: str = "auto"
  attention: str = "auto"
  unroll: int = 1
  remat: str = "none"

  patterns: ClassVar[tuple[type, ...]] = (Full, Causal, BlockCausal, Blocks)
  sharding_rules: ClassVar[Rules] = (
    (r"(scale|bias)$", P()),
    (r"embedding$", P("tensor", "fsdp")),
    (r"(state|self_condition)_kernel$", P(None, "fsdp")),
    (r"layers/attention/(query|key|value)$", P(None, "fsdp", "tensor", None)),
    (r"layers/attention/out$", P(None, "tensor", None, "fsdp")),
    (r"layers/feedforward/(up|gate)$", P(None, "fsdp", "tensor")),
    (r"layers/feedforward/down$", P(None, "tensor", "fsdp")),
    (r"time(/(first|second)|_projection)/kernel$", P()),
    (r"head_kernel$", P("fsdp", "tensor")),
  )
  matrix_axes: ClassVar[MatrixAxes] = (
    (r"layers/attention/(query|key|value)$", (1,), (2, 3)),
    (r"layers/attention/out$", (1, 2), (3,)),
    (r"layers/feedforward/(up|gate|down)$", (1,), (2,)),
  )

  def __post_init__(self) -> None:
    require_known("network.dtype", self.dtype, base.DTYPES)
    require_known("network.remat", self.remat, stack.REMAT)
    attention.check(self.attention)
    if not self.head_width and self.width % (2 * self.heads):
      raise UserError(
        f"network.width {self.width} is not an even multiple of network.heads {self.heads}: "
        "change one of them or set network.head_width."
      )
    if self.heads % self.key_heads:
      raise UserError(
        f"network.kv_heads {self.kv_heads} does not divide network.heads {self.heads}."
      )
    if self.size_of_head % 2 or self.rotated % 2 or self.rotated > self.size_of_head:
      raise UserError(
        f"network.head_width {self.size_of_head} and network.rotary_width {self.rotated} must be "
        "even, and the second no larger than the first."
      )
    base.check_rates(self.label_dropout, self.dropout)
    base.check_tied_head(self.tied_head, self.interface)

  @property
  def key_heads(self) -> int:
    """G."""
    return self.kv_heads or self.heads

  @property
  def size_of_head(self) -> int:
    """K."""
    return self.head_width or self.width // self.heads

  @property
  def rotated(self) -> int:
    """Entries of a head that are rotated."""
    return self.rotary_width or self.size_of_head

  @property
  def hidden_width(self) -> int:
    """F."""
    return self.feedforward_width or layers.swiglu_width(self.width)

  @property
  def compute_dtype(self) -> jnp.dtype:
    return base.dtype_of(self.dtype)

  @property
  def knows_time(self) -> bool:
    return self.time_conditioned

  @property
  def module(self) -> nn.Module:
    return decoder.LlamaModule(self)

  def empty_cache(self, rows: int, length: int) -> Array:
    shape = (self.depth, 2, rows, length, self.key_heads, self.size_of_head)
    cache = jnp.zeros(shape, self.compute_dtype)
    return constrain(cache, None, None, BATCH_AXES, None, None, None)

  def extend(
    self, params: Params, inputs: Inputs, cache: Array, write_positions: Array, mask: Array
  ) -> tuple[Array, Array]:
    variables = {"params": params}
    return self.module.apply(variables, inputs, cache, write_positions, mask, method="extend")

  def flops_per_token(self, length: int, pattern: Pattern = FULL) -> float:
    attention_width = self.heads * self.size_of_head
    projections = 2 * self.width * (attention_width + self.key_heads * self.size_of_head)
    return base.transformer_flops(
      pattern,
      length,
      depth=self.depth,
      weights=projections + 3 * self.width * self.hidden_width,
      attention_width=attention_width,
      head=self.width * self.interface.columns,
    )


def make(
  *, interface: NetworkInterface, num_labels: int = 0, preset: str = "small", **fields: object
) -> Llama:
  """Builds the network from its config: a preset of `PRESETS`, overridden by other fields.

  Raises:
    UserError: the preset or a field is unknown, or a value out of range.
  """
  network = resolve.build(Llama, presets.fields_of(preset, fields))
  return dataclasses.replace(network, interface=interface, num_labels=num_labels)
