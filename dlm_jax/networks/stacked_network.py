"""What a network made of a stack of attention layers is: the fields and the facts of all of them.

Its Flax halves are in `stack`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal, Full, Pattern
from dlm_jax.core.ranges import (
  AtLeastOne,
  Fraction,
  NonNegative,
  NonNegativeInt,
  Positive,
  PositiveInt,
  Probability,
)
from dlm_jax.core.types import Params
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.platform import platform
from dlm_jax.distributed.sharding import constrain
from dlm_jax.networks import attention, initialization
from dlm_jax.networks.base import Cache, Inputs, LayerCache, LinenNetwork

DTYPES = ("auto", "float32", "bfloat16")
REMAT = ("none", "dots", "full")
RESIDUAL = ("compute", "float32")
TIME_INPUTS = ("t", "sigma")
CLEAN_TIMES = ("zero", "noisy")
# Fields that parameters do not depend on, nor logits but for rounding: how a network computes and
# is trained.
FIELDS_OF_RUNS = frozenset(
  {
    "attention",
    "dropout",
    "dtype",
    "initialization",
    "label_dropout",
    "remat",
    "residual",
    "unroll",
  }
)


@dataclass(frozen=True, kw_only=True)
class StackedNetwork(LinenNetwork):
  """A network of attention layers that all have one shape.

  Attributes:
    width: D.
    heads: H, of the queries.
    depth: N layers.
    embedding_width: E, the numbers in the embedding of a token, which a matrix brings to D (MD4);
      0 is D, without the matrix.
    vocab_rows: rows of the embedding and columns of the head, where they are more than the process
      needs, as of checkpoints whose head has a column for the mask, or whose vocabulary is filled
      up; those beyond are kept and never read. 0 is as many as it needs.
    identity_input: whether the matrix that brings a continuous state to D starts as the identity,
      so that the state itself enters the layers (LangFlow); otherwise it is drawn.
    epsilon: added to the variance in every norm.
    rotary_base: the theta of rotary embedding.
    qk_norm: RMSNorm of queries and keys over each head, before the rotation.
    qkv_clip: queries, keys and values are cut to [-c, c] after that norm; 0 leaves them.
    initialization: how parameters are drawn: `lecun` (normal, biases 0), or `torch` (uniform, as
      the layers of PyTorch are, biases too). Heads and modulations start at 0 in both.
    time_conditioned: whether the network is given the time.
    time_input: what it is given as the time: `t`, or `sigma`, -log alpha(t) of the process.
    time_scale: what that is multiplied with before its sines and cosines, whose longest period is
      2 pi 1e4.
    clean_time: the time of the clean tokens of block diffusion: `zero`, or `noisy`, that of the
      noisy tokens in their places (the authors' code of BD3-LM), with which nothing is cached.
    condition_width: C, the size of the embedding of the time.
    label_dropout: how often training takes a label away, so that the network can do without.
    label_shift: a position is predicted from the state before it, as in what was trained on from an
      autoregressive model (Dream, Ye et al. 2025); not with a causal process, whose input moves.
    tied_head: the head is the transposed embedding.
    dropout: rate on both residual branches.
    dtype: compute dtype; `auto` is bfloat16 on accelerators and float32 on CPU.
    residual: dtype of the residual stream, of embeddings, norms and modulations: `compute`, that
      of the matrix products, or `float32`, as under PyTorch's autocast.
    attention: kernel, see `attention.choose`.
    unroll: how many layers one step of the scan holds; 0 is all of them.
    remat: what the backward pass keeps: `none` recomputes nothing, `dots` keeps the matrix products
      with weights, `full` keeps the input of each layer alone.
  """

  width: PositiveInt = 768
  heads: PositiveInt = 12
  depth: PositiveInt = 12
  embedding_width: NonNegativeInt = 0
  vocab_rows: NonNegativeInt = 0
  identity_input: bool = False
  epsilon: Positive = 1e-5
  rotary_base: AtLeastOne = 1e4
  qk_norm: bool = False
  qkv_clip: NonNegative = 0.0
  initialization: str = "lecun"
  time_conditioned: bool = False
  time_input: str = "t"
  time_scale: Positive = 1000.0
  clean_time: str = "zero"
  condition_width: PositiveInt = 128
  label_dropout: Probability = 0.1
  label_shift: bool = False
  tied_head: bool = False
  dropout: Fraction = 0.1
  dtype: str = "auto"
  residual: str = "compute"
  attention: str = "auto"
  unroll: NonNegativeInt = 1
  remat: str = "none"

  patterns: ClassVar[tuple[type, ...]] = (Full, Causal, BlockCausal, Blocks)
  # Where the parameters hold those of the layers, stacked, if all are of one kind.
  layers_name: ClassVar[str]

  def __post_init__(self) -> None:
    require_known("network.dtype", self.dtype, DTYPES)
    require_known("network.remat", self.remat, REMAT)
    require_known("network.residual", self.residual, RESIDUAL)
    require_known("network.initialization", self.initialization, initialization.NAMES)
    require_known("network.time_input", self.time_input, TIME_INPUTS)
    require_known("network.clean_time", self.clean_time, CLEAN_TIMES)
    attention.check(self.attention)
    if self.tied_head and self.embedding_width:
      raise UserError(
        f"network.tied_head needs embeddings as wide as the network, and network.embedding_width "
        f"is {self.embedding_width}: set it to 0."
      )
    if self.interface is not None:
      self._check_interface()

  def _check_interface(self) -> None:
    needed = max(self.interface.columns, self.interface.num_embeddings)
    if 0 < self.vocab_rows < needed:
      raise UserError(
        f"network.vocab_rows is {self.vocab_rows}, but the process needs {needed}: set it to 0."
      )
    if self.tied_head and self.interface.state_width is not None:
      raise UserError(
        "network.tied_head needs a network that embeds tokens: a continuous process shares its own "
        "embeddings with the head by process.shared_head."
      )

  @property
  def key_heads(self) -> int:
    """G, the heads of keys and values, a divisor of H."""
    return self.heads

  @property
  def embedding_rows(self) -> int:
    """Of the table of tokens."""
    return max(self.vocab_rows, self.interface.num_embeddings)

  @property
  def head_columns(self) -> int:
    """Of the matrix of the head, `interface.columns` of which are read."""
    return max(self.vocab_rows, self.interface.columns)

  @property
  def size_of_head(self) -> int:
    """K."""
    return self.width // self.heads

  @property
  def rotated(self) -> int:
    """Entries of a head that are rotated, even; 0 is none."""
    return self.size_of_head

  @property
  def out_bias(self) -> bool:
    """Whether the product behind attention has a bias."""
    return False

  @property
  def layer_weights(self) -> int:
    """The weights of the matrices of one layer."""
    raise NotImplementedError

  @property
  def active_weights(self) -> int:
    """The weights of all layers that one token is multiplied with."""
    return self.depth * self.layer_weights

  @property
  def stacks(self) -> dict[str, int]:
    """Under which names the parameters hold those of the layers, and how many layers each stack."""
    return {self.layers_name: self.depth}

  @property
  def compute_dtype(self) -> jnp.dtype:
    if self.dtype != "auto":
      return jnp.dtype(self.dtype)
    return jnp.dtype(jnp.float32 if platform() == "cpu" else jnp.bfloat16)

  @property
  def residual_dtype(self) -> jnp.dtype:
    """The dtype of the hidden states between layers."""
    return jnp.dtype(jnp.float32) if self.residual == "float32" else self.compute_dtype

  @property
  def knows_time(self) -> bool:
    return self.time_conditioned

  @property
  def rereads_clean_tokens(self) -> bool:
    return self.time_conditioned and self.clean_time == "noisy"

  @property
  def reads_sigma(self) -> bool:
    return self.time_conditioned and self.time_input == "sigma"

  def check_length(self, length: int) -> None:
    """Raises `UserError` where the network has no positions for rows of `length` tokens."""

  def empty_cache(self, rows: int, length: int) -> Cache:
    self.check_length(length)
    shape = (rows * self.key_heads, length, self.size_of_head)
    empty = constrain(jnp.zeros(shape, self.compute_dtype), BATCH_AXES, None, None)
    return (LayerCache(empty, empty),) * self.depth

  def unstacked(self, params: Params) -> Params:
    apart = {
      name: {str(i): jax.tree.map(lambda a, i=i: a[i], params[name]) for i in range(depth)}
      for name, depth in self.stacks.items()
    }
    return {**params, **apart}

  def extend(
    self, params: Params, inputs: Inputs, cache: Cache, write_positions: Array, mask: Array
  ) -> tuple[Array, Cache]:
    return self.apply("extend", params, inputs, cache, write_positions, mask)

  def flops_per_token(self, length: int, pattern: Pattern = FULL, scored: float = 1.0) -> float:
    """See `Network`. In block diffusion a token runs twice, noisy and clean."""
    streams = 2 if isinstance(pattern, Blocks) else 1
    scores = 2 * visible_pairs(pattern, length) * self.heads * self.size_of_head
    head = scored * self.width * self.interface.columns
    head += self.embedding_width * self.width
    return 2 * (streams * self.active_weights + self.depth * scores + head)


def visible_pairs(pattern: Pattern, length: int) -> float:
  """How many positions one token sees on average; the noisy and the clean one together see."""
  if isinstance(pattern, (Blocks, BlockCausal)):
    ends = [min(b + pattern.size, length) for b in range(0, length, pattern.size)]
    sizes = [end - pattern.size * b for b, end in enumerate(ends)]
    streams = 2 if isinstance(pattern, Blocks) else 1
    return streams * sum(size * end for size, end in zip(sizes, ends, strict=True)) / length
  return (length + 1) / 2 if isinstance(pattern, Causal) else length
