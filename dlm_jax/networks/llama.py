"""The decoder of LLaMA and Qwen, as diffusion language models use it (LLaDA, Dream, SDAR, A2D).

RMSNorm before attention and feedforward, rotary positions, SwiGLU, grouped-query attention, and no
biases but those of queries, keys and values (Touvron et al. 2023; Qwen3 report, 2025). The
feedforward network may be a mixture of experts (LLaDA-MoE, LLaDA2, Qwen3-MoE). Any
attention pattern. Its Flax modules are in `decoder.py`.
"""

from dataclasses import dataclass
from typing import ClassVar

from flax import linen as nn
from jax.sharding import PartitionSpec as P

from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.ranges import Fraction, NonNegativeInt
from dlm_jax.distributed.sharding import Rules
from dlm_jax.networks import decoder, layers, presets
from dlm_jax.networks.base import MatrixAxes
from dlm_jax.networks.experts import ExpertMixture
from dlm_jax.networks.stacked_network import StackedNetwork


@dataclass(frozen=True, kw_only=True)
class Llama(ExpertMixture, StackedNetwork):
  """The shape of a LLaMA decoder; a size of 0 follows from the others.

  Attributes:
    kv_heads: G, of the keys and values, a divisor of H; 0 is H.
    head_width: K, even; 0 is D / H.
    feedforward_width: F, the hidden layer of SwiGLU; 0 is 8/3 D, in 64s.
    rotary_width: how many of the K entries of a head are rotated, even; 0 is all.
    qkv_bias: biases on queries, keys and values (Qwen2).
    qk_norm: RMSNorm of queries and keys over each head, before the rotation (Qwen3).
    time_conditioned: the embedding of the time is added to that of every token; LLaMA has none.
    label_dropout: how often training takes a label away, so that the network can do without. The
      embedding of a label is added to that of every token.
  """

  kv_heads: NonNegativeInt = 0
  head_width: NonNegativeInt = 0
  feedforward_width: NonNegativeInt = 0
  rotary_width: NonNegativeInt = 0
  qkv_bias: bool = False
  dropout: Fraction = 0.0

  layers_name: ClassVar[str] = "layers"
  sharding_rules: ClassVar[Rules] = (
    (r"(scale|bias)$", P()),
    (r"embedding$", P("tensor", "fsdp")),
    (r"(state|self_condition|embedding)_kernel$", P(None, "fsdp")),
    (r"layers/attention/(query|key|value)$", P(None, "fsdp", "tensor", None)),
    (r"layers/attention/out$", P(None, "tensor", None, "fsdp")),
    (r"layers/feedforward/(up|gate)$", P(None, "fsdp", "tensor")),
    (r"layers/feedforward/down$", P(None, "tensor", "fsdp")),
    (r"experts/router$", P(None, "fsdp")),
    (r"experts/(gate|up)$", P(None, "tensor", "fsdp")),
    (r"experts/down$", P(None, "tensor", None, "fsdp")),
    (r"time(/(first|second)|_projection)/kernel$", P()),
    (r"head_kernel$", P("fsdp", "tensor")),
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    self.check_experts(self.depth)
    if not self.head_width and self.width % (2 * self.heads):
      raise UserError(
        f"network.width {self.width} is not an even multiple of network.heads {self.heads}: "
        "change one of them or set network.head_width."
      )
    if self.heads % self.key_heads:
      raise UserError(
        f"network.kv_heads {self.kv_heads} does not divide network.heads {self.heads}: set it to "
        "a divisor."
      )
    if self.size_of_head % 2 or self.rotated % 2 or self.rotated > self.size_of_head:
      raise UserError(
        f"network.head_width {self.size_of_head} and network.rotary_width {self.rotated} must be "
        "even, and the second no larger than the first."
      )

  @property
  def key_heads(self) -> int:
    return self.kv_heads or self.heads

  @property
  def size_of_head(self) -> int:
    return self.head_width or super().size_of_head

  @property
  def rotated(self) -> int:
    return self.rotary_width or self.size_of_head

  @property
  def hidden_width(self) -> int:
    """F."""
    return self.feedforward_width or layers.swiglu_width(self.width)

  @property
  def width_of_expert(self) -> int:
    """The hidden layer of one expert."""
    return self.expert_width or max(1, self.hidden_width // self.experts_per_token)

  @property
  def matrix_axes(self) -> MatrixAxes:
    plain = (r"layers/feedforward/(up|gate|down)$", (1,), (2,))
    of_experts = (r"layers/experts/(up|gate|down)$", (2,), (3,))
    has_plain = not self.experts or self.dense_layers or self.shared_experts
    return (
      (r"layers/attention/(query|key|value)$", (1,), (2, 3)),
      (r"layers/attention/out$", (1, 2), (3,)),
      *([plain] if has_plain else []),
      *([of_experts] if self.experts else []),
    )

  @property
  def stacks(self) -> dict[str, int]:
    dense = {"dense_layers": self.dense_layers} if self.dense_layers else {}
    return {**dense, self.layers_name: self.depth - self.dense_layers}

  @property
  def layer_weights(self) -> int:
    """Of a layer with a plain feedforward network."""
    return self._attention_weights + 3 * self.width * self.hidden_width

  @property
  def active_weights(self) -> int:
    if not self.experts:
      return super().active_weights
    used = self.experts_per_token + self.shared_experts
    mixture = self.width * (self.experts + 3 * used * self.width_of_expert)
    with_experts = self.depth - self.dense_layers
    return self.dense_layers * self.layer_weights + with_experts * (
      self._attention_weights + mixture
    )

  @property
  def _attention_weights(self) -> int:
    return 2 * self.width * (self.heads + self.key_heads) * self.size_of_head

  @property
  def module(self) -> nn.Module:
    return decoder.LlamaModule(self)


def make(
  *, interface: NetworkInterface, num_labels: int = 0, preset: str = "small", **fields: object
) -> Llama:
  """Builds the network from its config.

  Args:
    interface: what the process needs it to take and to give.
    num_labels: labels a row may have.
    preset: a size by name, see `presets.PRESETS`; it is what fields that are left open are.
    **fields: the attributes of the class.

  Raises:
    UserError: the preset or a field is unknown, or a value out of range.
  """
  return presets.build(Llama, preset, fields, interface, num_labels)
