"""The denoiser: a transformer with optional adaLN time conditioning, bidirectional unless told.

DiT (Peebles and Xie 2022) as diffusion language models use it (SEDD, MDLM; methods of Lou et al.
2024, appendix). Layers are stacked with `nn.scan`: every block parameter has a leading axis N.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.sharding import PartitionSpec as P

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.patterns import FULL, Blocks, Causal, Pattern
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.platform import platform
from dlm_jax.distributed.sharding import Rules, constrain
from dlm_jax.networks import attention, layers

PRESETS: dict[str, dict[str, int | str]] = {
  "tiny": {"width": 512, "heads": 8, "depth": 8},
  "small": {"width": 768, "heads": 12, "depth": 12},
  "medium": {"width": 1024, "heads": 16, "depth": 24},
  "large": {"width": 1280, "heads": 20, "depth": 36},
  "1b": {"width": 2048, "heads": 16, "depth": 20, "remat": "full"},
  "7b": {"width": 4096, "heads": 32, "depth": 32, "remat": "full"},
}

# Sets the draw that takes labels away apart from those of the layers' dropout.
LABEL_DRAW = 2**31

# How each parameter lies on the mesh, first match wins; block parameters have a leading layer axis.
SHARDING_RULES: Rules = (
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

# The hidden matrices, which Muon orthogonalises: (axes summed over, axes produced). The layer axis,
# and the axis that tells query, key and value apart, are left out: each matrix stands for itself.
MATRIX_AXES: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
  (r"blocks/attention/qkv$", (1,), (3, 4)),
  (r"blocks/attention/out$", (1, 2), (3,)),
  (r"blocks/feedforward/(up|gate|down)$", (1,), (2,)),
)

CHOICES = {
  "conditioning": ("adaln", "none"),
  "norm": ("layer", "rms"),
  "feedforward": ("gelu", "swiglu"),
  "remat": ("none", "dots", "full"),
  "dtype": ("auto", "float32", "bfloat16"),
}


@dataclass(frozen=True)
class TransformerConfig:
  """The shape of a transformer; the defaults are the small recipe of the papers (`small`).

  Attributes:
    vocab_size: V, the columns of the output.
    num_embeddings: rows of the input embedding: V, and one more if the mask lies outside V.
    state_width: W, the size of a continuous state, in place of the input embedding.
    self_conditioned: takes an earlier prediction `[B, L, W]` of the clean state beside it.
    num_labels: labels a row may have, 0 where there are none. Their embedding is added to that of
      the time; one more row stands for no label.
    label_dropout: how often training takes a label away, so that the network can do without.
    width: D.
    heads: H; D must be an even multiple of it.
    depth: N blocks.
    feedforward: `gelu` (hidden 4 D) or `swiglu` (hidden 8/3 D, in 64s: equal parameters).
    norm: `layer` or `rms`.
    qk_norm: RMSNorm of queries and keys over each head.
    conditioning: `adaln`, adaLN-zero modulation of every block; `none`, no time at all.
    time_conditioned: whether adaLN sees the time, or 0 in its place.
    condition_width: C, the size of the conditioning vector.
    tied_head: the head is the transposed embedding.
    dropout: rate on both residual branches.
    dtype: compute dtype; `auto` is bfloat16 on accelerators and float32 on CPU.
    attention: kernel, see `attention.choose`.
    unroll: how many layers one step of the scan holds; 0 is all of them.
    remat: what the backward pass keeps: `none` recomputes nothing, `dots` keeps the matrix
      products with weights, `full` keeps the input of each block alone.
  """

  vocab_size: int
  num_embeddings: int
  state_width: int | None = None
  self_conditioned: bool = False
  num_labels: int = 0
  label_dropout: float = 0.1
  width: int = 768
  heads: int = 12
  depth: int = 12
  feedforward: str = "gelu"
  norm: str = "layer"
  qk_norm: bool = False
  conditioning: str = "adaln"
  time_conditioned: bool = False
  condition_width: int = 128
  tied_head: bool = False
  dropout: float = 0.1
  dtype: str = "auto"
  attention: str = "auto"
  unroll: int = 1
  remat: str = "none"

  def __post_init__(self) -> None:
    for field, known in CHOICES.items():
      value = getattr(self, field)
      if value not in known:
        raise UserError(
          f"network.{field} is {value!r}: {nearest(value, known)}"
          f"The known values are {', '.join(known)}."
        )
    attention.check(self.attention)
    if self.width % (2 * self.heads):
      raise UserError(
        f"network.width {self.width} is not an even multiple of network.heads {self.heads}."
      )
    if self.time_conditioned and self.conditioning == "none":
      raise UserError("network.time_conditioned needs network.conditioning to be 'adaln'.")
    if self.num_labels and self.conditioning == "none":
      raise UserError("a labelled corpus needs network.conditioning to be 'adaln'.")
    if not 0 <= self.label_dropout <= 1:
      raise UserError(f"network.label_dropout must lie in [0, 1], got {self.label_dropout}.")
    if self.tied_head and self.state_width is not None:
      raise UserError(
        "network.tied_head needs a network that embeds tokens: a continuous process shares its own "
        "embeddings with the head by process.shared_head."
      )
    if not 0 <= self.dropout < 1:
      raise UserError(f"network.dropout must lie in [0, 1), got {self.dropout}.")

  @property
  def head_width(self) -> int:
    return self.width // self.heads

  @property
  def hidden(self) -> int:
    if self.feedforward == "gelu":
      return 4 * self.width
    return 64 * round(8 * self.width / 3 / 64) or 64

  @property
  def compute_dtype(self) -> jnp.dtype:
    if self.dtype != "auto":
      return jnp.dtype(self.dtype)
    return jnp.dtype(jnp.float32 if platform() == "cpu" else jnp.bfloat16)


class Attention(nn.Module):
  """Multi-head self-attention over the visible positions, without biases.

  With a cache, the keys and values `[2, B, S, H, K]` of a row, `x` are its positions from `start`
  on: they are written into it, and it is what they attend to. Returned as it is after that.
  """

  config: TransformerConfig

  @nn.compact
  def __call__(
    self, x: Array, angles: Array, pattern: Pattern, start: Array | None, cache: Array | None
  ) -> tuple[Array, Array | None]:
    c = self.config
    shape = (c.width, 3, c.heads, c.head_width)
    init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3))
    qkv = self.param("qkv", init, shape, jnp.float32)
    query, key, value = jnp.einsum("bld,dihk->iblhk", x, qkv.astype(x.dtype))
    if c.qk_norm:
      query = layers.Norm("rms", name="query_norm")(query)
      key = layers.Norm("rms", name="key_norm")(key)
    query, key = layers.rotate(query, angles), layers.rotate(key, angles)
    if cache is None:
      mixed = attention.attend(query, key, value, c.attention, pattern)
    else:
      cache = jax.lax.dynamic_update_slice_in_dim(cache, jnp.stack([key, value]), start, axis=2)
      mixed = attention.attend_cached(query, *cache, start, pattern)
    init = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2)
    out = self.param("out", init, (c.heads, c.head_width, c.width), jnp.float32)
    return jnp.einsum("blhk,hkd->bld", mixed, out.astype(x.dtype)), cache


class Block(nn.Module):
  """Attention and feedforward, each pre-normed, modulated by the condition and added back.

  Called by `nn.scan`: takes and returns the carry `x` [B, L, D]; `condition` [B, 1 or L, C] or
  None, `angles`, `pattern` and `start` are shared by all layers, `dropout_keys` [2, B] or None
  and `cache` or None are the layer's own. Returns the cache beside the carry.
  """

  config: TransformerConfig

  @nn.compact
  def __call__(
    self,
    x: Array,
    condition: Array | None,
    angles: Array,
    pattern: Pattern,
    start: Array | None,
    dropout_keys: Array | None,
    cache: Array | None,
  ) -> tuple[Array, Array | None]:
    c = self.config
    shifts, scales, gates = self._modulation(condition)
    keys = (None, None) if dropout_keys is None else dropout_keys
    h = layers.Norm(c.norm, name="attention_norm")(x) * (1 + scales[0]) + shifts[0]
    h, cache = Attention(c, name="attention")(h, angles, pattern, start, cache)
    x = self._add(x, gates[0] * h, keys[0])
    h = layers.Norm(c.norm, name="feedforward_norm")(x) * (1 + scales[1]) + shifts[1]
    h = layers.Feedforward(c.feedforward, c.hidden, name="feedforward")(h)
    return self._add(x, gates[1] * h, keys[1]), cache

  def _add(self, x: Array, branch: Array, dropout_keys: Array | None) -> Array:
    x = x + layers.dropout(branch, self.config.dropout, dropout_keys)
    return constrain(x, BATCH_AXES, None, None)

  def _modulation(self, condition: Array | None) -> tuple[Any, Any, Any]:
    """Shift, scale and gate of both branches; (0, 0, 1) without conditioning."""
    if condition is None:
      return (0.0, 0.0), (0.0, 0.0), (1.0, 1.0)
    parts = layers.Linear(6 * self.config.width, zero=True, name="modulation")(condition)
    shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = jnp.split(parts, 6, axis=-1)
    return (shift_a, shift_f), (scale_a, scale_f), (gate_a, gate_f)


class Transformer(nn.Module):
  """`apply({"params": params}, z, t) -> logits [B, L, V]` float32.

  `hidden` and `head` are its two halves, for losses that never hold all logits at once.
  """

  config: TransformerConfig

  def setup(self) -> None:
    c = self.config
    init = nn.initializers.normal(0.02)
    if c.state_width is None:
      self.embedding = self.param("embedding", init, (c.num_embeddings, c.width), jnp.float32)
    else:
      shape, init = (c.state_width, c.width), nn.initializers.lecun_normal()
      self.state_kernel = self.param("state_kernel", init, shape, jnp.float32)
      if c.self_conditioned:
        zeros = nn.initializers.zeros
        self.self_condition_kernel = self.param("self_condition_kernel", zeros, shape, jnp.float32)
    self.blocks = _stack(c)
    self.final_norm = layers.Norm(c.norm)
    if c.conditioning == "adaln":
      self.time = layers.TimeEmbedding(c.condition_width)
      self.final_modulation = layers.Linear(2 * c.width, zero=True)
    if c.num_labels:
      shape = (c.num_labels + 1, c.condition_width)
      self.label_embedding = self.param("label_embedding", init, shape, jnp.float32)
    if not c.tied_head:
      self.head_kernel = self.param(
        "head_kernel", nn.initializers.zeros, (c.width, c.vocab_size), jnp.float32
      )
    self.head_bias = self.param("head_bias", nn.initializers.zeros, (c.vocab_size,), jnp.float32)

  def __call__(
    self,
    z: Array,
    t: Array,
    dropout_keys: Array | None = None,
    *,
    self_condition: Array | None = None,
    pattern: Pattern = FULL,
    clean: Array | None = None,
    labels: Array | None = None,
  ) -> Array:
    """Logits `[B, L, V]` float32 for tokens `z` int32 `[B, L]` at times `t` `[B]` or `[B, L]`.

    `z` may be `SoftTokens`, and with `state_width` it is float `[B, L, W]`. The other arguments are
    as in `hidden`.
    """
    hidden = self.hidden(
      z,
      t,
      dropout_keys,
      self_condition=self_condition,
      pattern=pattern,
      clean=clean,
      labels=labels,
    )
    return self.head(hidden)

  def hidden(
    self,
    z: Array,
    t: Array,
    dropout_keys: Array | None = None,
    *,
    self_condition: Array | None = None,
    pattern: Pattern = FULL,
    clean: Array | None = None,
    labels: Array | None = None,
  ) -> Array:
    """The normed output of the last block `[B, L, D]` in the compute dtype.

    `dropout_keys` `[B]` switches dropout on; without `self_condition` `[B, L, W]` it is 0.
    `pattern` says which position sees which; with `Blocks`, `clean` int32 `[B, L]` are the
    tokens that later blocks see, at time 0: `z` if None. `labels` are int32 `[B]`, None for no
    label.
    """
    length, positions = z.shape[1], jnp.arange(z.shape[1])
    if isinstance(pattern, Causal):
      z = jnp.pad(z, ((0, 0), (1, 0)), constant_values=pattern.begin)[:, :-1]
    elif isinstance(pattern, Blocks):
      t = jnp.broadcast_to(t[:, None] if t.ndim == 1 else t, z.shape)
      t = jnp.concatenate([t, jnp.zeros_like(t)], axis=1)
      z = jnp.concatenate([z, z if clean is None else clean], axis=1)
      positions = jnp.tile(positions, 2)
    x = self._input(z, self_condition)
    return self._run(x, t, positions, pattern, labels, dropout_keys)[0][:, :length]

  def extend(
    self,
    z: Array,
    t: Array,
    start: Array,
    cache: Array,
    pattern: Pattern,
    labels: Array | None = None,
  ) -> tuple[Array, Array]:
    """Logits `[B, n, V]` of the inputs `z` `[B, n]` at positions from `start` on, and the cache.

    The `cache` `[N, 2, B, S, H, K]` holds keys and values of the positions before; those of `z` are
    written into it. It takes the input as it is: under `Causal`, each position's token before it.
    """
    positions = start + jnp.arange(z.shape[1])
    x = self._input(z)
    hidden, cache = self._run(x, t, positions, pattern, labels, None, start, cache)
    return self.head(hidden), cache

  def empty_cache(self, rows: int, length: int) -> Array:
    """A cache for `extend` with room for `length` positions, in the compute dtype."""
    c = self.config
    shape = (c.depth, 2, rows, length, c.heads, c.head_width)
    return constrain(jnp.zeros(shape, c.compute_dtype), None, None, BATCH_AXES, None, None, None)

  def _run(
    self,
    x: Array,
    t: Array,
    positions: Array,
    pattern: Pattern,
    labels: Array | None,
    dropout_keys: Array | None,
    start: Array | None = None,
    cache: Array | None = None,
  ) -> tuple[Array, Array | None]:
    """The normed output of the last block on its input `x` `[B, L, D]`, and the cache if any."""
    c = self.config
    condition = self._condition(t, self._labels(x.shape[0], labels, dropout_keys))
    angles = layers.rotary_angles(positions, c.head_width)
    keys = _layer_keys(dropout_keys, c.depth)
    x, cache = self.blocks(x, condition, angles, pattern, start, keys, cache)
    x = self.final_norm(x)
    if condition is not None:
      shift, scale = jnp.split(self.final_modulation(condition), 2, axis=-1)
      x = x * (1 + scale) + shift
    return x, cache

  def _input(self, z: Array, self_condition: Array | None = None) -> Array:
    """What the first block receives, `[B, L, D]` in the compute dtype."""
    dtype = self.config.compute_dtype
    if isinstance(z, SoftTokens):
      rows = layers.embed(self.embedding, z.tokens, dtype)
      x = jnp.einsum("blk,blkd->bld", z.weights.astype(dtype), rows)
    elif self.config.state_width is None:
      x = layers.embed(self.embedding, z, dtype)
    else:
      x = jnp.einsum("blw,wd->bld", z.astype(dtype), self.state_kernel.astype(dtype))
    if self_condition is not None:
      kernel = self.self_condition_kernel.astype(dtype)
      x += jnp.einsum("blw,wd->bld", self_condition.astype(dtype), kernel)
    return constrain(x, BATCH_AXES, None, None)

  def head(self, hidden: Array) -> Array:
    """Logits `[..., V]` float32 for `hidden` `[..., D]`."""
    c = self.config
    kernel = self.embedding[: c.vocab_size].T if c.tied_head else self.head_kernel
    kernel = kernel.astype(hidden.dtype)
    logits = jnp.einsum("...d,dv->...v", hidden, kernel, preferred_element_type=jnp.float32)
    return logits + self.head_bias

  def _labels(self, rows: int, labels: Array | None, keys: Array | None) -> Array | None:
    """The row of the label embedding that each row of the batch takes, `[B]`."""
    c = self.config
    if not c.num_labels:
      return None
    if labels is None:
      return jnp.full(rows, c.num_labels)
    if keys is None:
      return labels
    draw = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, LABEL_DRAW)))
    return jnp.where(draw(keys) < c.label_dropout, c.num_labels, labels)

  def _condition(self, t: Array, labels: Array | None) -> Array | None:
    """The conditioning vector `[B, 1 or L, C]`, or None without conditioning."""
    c = self.config
    if c.conditioning == "none":
      return None
    t = t[:, None] if t.ndim == 1 else t
    t = t if c.time_conditioned else jnp.zeros_like(t[:, :1])
    condition = self.time(t)
    if labels is not None:
      condition += constrain(self.label_embedding, None, None)[labels][:, None]
    return condition.astype(c.compute_dtype)


def _stack(config: TransformerConfig) -> nn.Module:
  """The blocks under one scan, rematerialised as the config asks."""
  policies = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
  }
  block = Block
  if config.remat != "none":
    block = nn.remat(Block, policy=policies[config.remat], prevent_cse=False)
  return nn.scan(
    block,
    variable_axes={"params": 0},
    split_rngs={"params": True},
    in_axes=(*[nn.broadcast] * 4, 0, 0),
    length=config.depth,
    unroll=config.unroll or config.depth,
  )(config)


def _layer_keys(row_keys: Array | None, depth: int) -> Array | None:
  """Dropout keys `[N, 2, B]`, one for each layer, branch and row, from one a row."""
  if row_keys is None:
    return None
  split = jax.vmap(lambda key: jax.random.split(key, (depth, 2)), out_axes=2)
  return split(row_keys)


def matmul_flops(config: TransformerConfig, length: int, pattern: Pattern = FULL) -> float:
  """FLOPs a token of the forward pass, from shapes: two a weight, and attention's two products.

  Of attention the visible pairs count; in block diffusion a token runs twice, noisy and clean.
  `Compiled.cost_analysis()` counts the body of a scan once, so it cannot be asked.
  """
  c = config
  products = {"gelu": 2, "swiglu": 3}[c.feedforward]
  block = 4 * c.width * c.width + products * c.width * c.hidden
  streams = 2 if isinstance(pattern, Blocks) else 1
  attention_scores = 2 * visible_pairs(pattern, length) * c.width
  return 2 * (c.depth * (streams * block + attention_scores) + c.width * c.vocab_size)


def visible_pairs(pattern: Pattern, length: int) -> float:
  """How many positions one token sees on average; the noisy and the clean one together see."""
  if isinstance(pattern, Blocks):
    ends = [min(b + pattern.size, length) for b in range(0, length, pattern.size)]
    sizes = [end - pattern.size * b for b, end in enumerate(ends)]
    return 2 * sum(size * end for size, end in zip(sizes, ends, strict=True)) / length
  return (length + 1) / 2 if isinstance(pattern, Causal) else length


def make(*, preset: str = "small", **fields: Any) -> Transformer:
  """Builds the network from its config: a preset of `PRESETS`, overridden by other fields.

  Raises:
    UserError: the preset or a field is unknown, or a value out of range.
  """
  if preset not in PRESETS:
    raise UserError(
      f"there is no network preset {preset!r}: {nearest(preset, PRESETS)}"
      f"The known ones are {', '.join(PRESETS)}."
    )
  given = {name: value for name, value in fields.items() if value is not None}
  return Transformer(resolve.build(TransformerConfig, {**PRESETS[preset], **given}))
