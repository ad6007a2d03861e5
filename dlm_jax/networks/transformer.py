"""A transformer with optional adaLN-zero conditioning on the time and on labels.

DiT (Peebles and Xie 2022) as diffusion language models use it (SEDD, MDLM; methods of Lou et al.
2024, appendix). Its Flax modules are in `dit.py`.
"""

from dataclasses import dataclass
from typing import ClassVar

from flax import linen as nn
from jax.sharding import PartitionSpec as P

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.ranges import NonNegativeInt
from dlm_jax.distributed.sharding import Rules
from dlm_jax.networks import dit, layers, presets
from dlm_jax.networks.base import MatrixAxes
from dlm_jax.networks.stacked_network import StackedNetwork

CHOICES = {
  "conditioning": ("adaln", "none"),
  "norm": ("layer", "rms"),
  "feedforward": ("gelu", *layers.GATES),
}


@dataclass(frozen=True, kw_only=True)
class Transformer(StackedNetwork):
  """The shape of a transformer; the defaults are the small recipe of the papers (`small`).

  Attributes:
    heads: H; D must be a multiple of it, an even one where positions are rotary.
    feedforward: `gelu` (hidden 4 D), or gated by SiLU (`swiglu`) or by the sigmoid (`glu`), both
      with hidden 8/3 D, in 64s (equal parameters) and no biases.
    norm: `layer` or `rms`.
    biases: whether norms and the products of attention have biases (GPT-2).
    learned_positions: rows of a table of positions, which is added to the embedding in place of
      rotary positions (GPT-2); no row of tokens is longer. 0 is rotary positions.
    norm_weights: whether norms have a weight; adaLN gives them one that depends on the time.
    head_bias: whether the head has a bias.
    shared_dropout: the positions of a row drop out the same entries (MD4).
    conditioning: `adaln`, adaLN-zero modulation of every block; `none`, no time at all.
    time_conditioned: whether adaLN sees the time, or 0 in its place.
    condition_width: C, the size of the conditioning vector. The embedding of a label is added to
      that of the time; one more row stands for no label.
  """

  feedforward: str = "gelu"
  norm: str = "layer"
  biases: bool = False
  learned_positions: NonNegativeInt = 0
  norm_weights: bool = True
  head_bias: bool = True
  shared_dropout: bool = False
  conditioning: str = "adaln"

  layers_name: ClassVar[str] = "blocks"
  sharding_rules: ClassVar[Rules] = (
    (r"(scale|bias)$", P()),
    (r"embedding$", P("tensor", "fsdp")),
    (r"(state|self_condition|embedding)_kernel$", P(None, "fsdp")),
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
    super().__post_init__()
    for field, choices in CHOICES.items():
      require_known(f"network.{field}", getattr(self, field), choices)
    pairs, multiple = (1, "a") if self.learned_positions else (2, "an even")
    if self.width % (pairs * self.heads):
      raise UserError(
        f"network.width {self.width} is not {multiple} multiple of network.heads {self.heads}: "
        "change one of them."
      )
    if self.time_conditioned and self.conditioning == "none":
      raise UserError(
        "network.time_conditioned needs network.conditioning to be 'adaln', got 'none'."
      )
    if self.num_labels and self.conditioning == "none":
      raise UserError("a labelled corpus needs network.conditioning to be 'adaln', got 'none'.")

  @property
  def rotated(self) -> int:
    return 0 if self.learned_positions else self.size_of_head

  @property
  def out_bias(self) -> bool:
    return self.biases

  def check_length(self, length: int) -> None:
    if 0 < self.learned_positions < length:
      raise UserError(
        f"rows of {length} tokens are longer than network.learned_positions "
        f"{self.learned_positions}: take shorter rows, or train a network with more positions."
      )

  @property
  def hidden_width(self) -> int:
    """The hidden layer of the feedforward network."""
    return 4 * self.width if self.feedforward == "gelu" else layers.swiglu_width(self.width)

  @property
  def layer_weights(self) -> int:
    products = 3 if self.feedforward in layers.GATES else 2
    return 4 * self.width * self.width + products * self.width * self.hidden_width

  @property
  def module(self) -> nn.Module:
    return dit.TransformerModule(self)


def make(
  *, interface: NetworkInterface, num_labels: int = 0, preset: str = "small", **fields: object
) -> Transformer:
  """Builds the network from its config.

  Args:
    interface: what the process needs it to take and to give.
    num_labels: labels a row may have.
    preset: a size by name, see `presets.PRESETS`; it is what fields that are left open are.
    **fields: the attributes of the class.

  Raises:
    UserError: the preset or a field is unknown, or a value out of range.
  """
  return presets.build(Transformer, preset, fields, interface, num_labels)
