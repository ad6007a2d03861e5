"""A transformer with optional adaLN-zero conditioning on the time and on labels.

DiT (Peebles and Xie 2022) as diffusion language models use it (SEDD, MDLM; methods of Lou et al.
2024, appendix). Its Flax modules are in `dit.py`.
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
from dlm_jax.networks import attention, base, dit, layers, presets, stack
from dlm_jax.networks.base import Inputs, MatrixAxes

CHOICES = {
  "conditioning": ("adaln", "none"),
  "norm": ("layer", "rms"),
  "feedforward": ("gelu", "swiglu"),
  "remat": stack.REMAT,
  "dtype": base.DTYPES,
}


@dataclass(frozen=True, kw_only=True)
class Transformer(base.LinenNetwork):
  """The shape of a transformer; the defaults are the small recipe of the papers (`small`).

  Attributes:
    width: D.
    heads: H; D must be an even multiple of it.
    depth: N blocks.
    feedforward: `gelu` (hidden 4 D) or `swiglu` (hidden 8/3 D, in 64s: equal parameters).
    norm: `layer` or `rms`.
    qk_norm: RMSNorm of queries and keys over each head.
    conditioning: `adaln`, adaLN-zero modulation of every block; `none`, no time at all.
    time_conditioned: whether adaLN sees the time, or 0 in its place.
    condition_width: C, the size of the conditioning vector. The embedding of a label is added to
      that of the time; one more row stands for no label.
    label_dropout: how often training takes a label away, so that the network can do without.
    tied_head: the head is the transposed embedding.
    dropout: rate on both residual branches.
    dtype: compute dtype; `auto` is bfloat16 on accelerators and float32 on CPU.
    attention: kernel, see `attention.choose`.
    unroll: how many layers one step of the scan holds; 0 is all of them.
    remat: what the backward pass keeps: `none` recomputes nothing, `dots` keeps the matrix
      products with weights, `full` keeps the input of each block alone.
  """

  width: int = 768
  heads: int = 12
  depth: int = 12
  feedforward: str = "gelu"
  norm: str = "layer"
  qk_norm: bool = False
  conditioning: str = "adaln"
  time_conditioned: bool = False
  condition_width: int = 128
  label_dropout: float = 0.1
  tied_head: bool = False
  dropout: float = 0.1
  dtype: str = "auto"
  attention: str = "auto"
  unroll: int = 1
  remat: str = "none"

  patterns: ClassVar[tuple[type, ...]] = (Full, Causal, BlockCausal, Blocks)
  sharding_rules: ClassVar[Rules] = (
    (r"(scale|bias)$", P()),
    (r"embedding$", P("tensor", "fsdp")),
    (r"(state|self_condition)_kernel$", P(None, "fsdp")),
    (r"blocks/attention/qkv$", P(None, "fsdp", None, "tensor", None)),
    (r"blocks/attention/out$", P(None, "tensor", None, "fsdp")),
    (r"blocks/feedforward/(up|gate)$", P(None, "fsdp", "tensor")),
    (r"blocks/feedforward/down$", P(None, "tensor", "fsdp")),
    (r"blocks/modulation/kernel$", P(None, None, "fsdp")),
    (r"final_modulation/kernel$", P(None, "fsdp")),
    (r"time/(first|second)/kernel$", P()),
    (r"head_kernel$", P("fsdp", "tensor")),
  )
  # The layer axis, and the axis that tells query, key and value apart, are left out: each matrix
  # stands for itself.
  matrix_axes: ClassVar[MatrixAxes] = (
    (r"blocks/attention/qkv$", (1,), (3, 4)),
    (r"blocks/attention/out$", (1, 2), (3,)),
    (r"blocks/feedforward/(up|gate|down)$", (1,), (2,)),
  )

  def __post_init__(self) -> None:
    for field, choices in CHOICES.items():
      require_known(f"network.{field}", getattr(self, field), choices)
    attention.check(self.attention)
    if self.width % (2 * self.heads):
      raise UserError(
        f"network.width {self.width} is not an even multiple of network.heads {self.heads}."
      )
    if self.time_conditioned and self.conditioning == "none":
      raise UserError("network.time_conditioned needs network.conditioning to be 'adaln'.")
    if self.num_labels and self.conditioning == "none":
      raise UserError("a labelled corpus needs network.conditioning to be 'adaln'.")
    base.check_rates(self.label_dropout, self.dropout)
    base.check_tied_head(self.tied_head, self.interface)

  @property
  def head_width(self) -> int:
    return self.width // self.heads

  @property
  def hidden_width(self) -> int:
    """The hidden layer of the feedforward network."""
    return 4 * self.width if self.feedforward == "gelu" else layers.swiglu_width(self.width)

  @property
  def compute_dtype(self) -> jnp.dtype:
    return base.dtype_of(self.dtype)

  @property
  def knows_time(self) -> bool:
    return self.time_conditioned

  @property
  def module(self) -> nn.Module:
    return dit.TransformerModule(self)

  def empty_cache(self, rows: int, length: int) -> Array:
    shape = (self.depth, 2, rows, length, self.heads, self.head_width)
    cache = jnp.zeros(shape, self.compute_dtype)
    return constrain(cache, None, None, BATCH_AXES, None, None, None)

  def extend(
    self, params: Params, inputs: Inputs, cache: Array, write_positions: Array, mask: Array
  ) -> tuple[Array, Array]:
    variables = {"params": params}
    return self.module.apply(variables, inputs, cache, write_positions, mask, method="extend")

  def flops_per_token(self, length: int, pattern: Pattern = FULL) -> float:
    products = {"gelu": 2, "swiglu": 3}[self.feedforward]
    return base.transformer_flops(
      pattern,
      length,
      depth=self.depth,
      weights=4 * self.width * self.width + products * self.width * self.hidden_width,
      attention_width=self.width,
      head=self.width * self.interface.columns,
    )


def make(
  *, interface: NetworkInterface, num_labels: int = 0, preset: str = "small", **fields: object
) -> Transformer:
  """Builds the network from its config: a preset of `PRESETS`, overridden by other fields.

  Raises:
    UserError: the preset or a field is unknown, or a value out of range.
  """
  network = resolve.build(Transformer, presets.fields_of(preset, fields))
  return dataclasses.replace(network, interface=interface, num_labels=num_labels)
