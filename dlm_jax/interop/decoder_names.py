"""What the tensors of a LLaMA decoder are called, by `transformers` and by others."""

from dataclasses import dataclass

from dlm_jax.interop.name_map import Line, NameMap
from dlm_jax.networks.llama import Llama


@dataclass(frozen=True, kw_only=True)
class DecoderNames:
  """What the tensors of a decoder are called, without `.weight` and `.bias`; those of a layer with
  `{}` for its number."""

  embedding: str = "model.embed_tokens"
  layer: str = "model.layers.{}"
  attention_norm: str = "input_layernorm"
  query: str = "self_attn.q_proj"
  key: str = "self_attn.k_proj"
  value: str = "self_attn.v_proj"
  query_norm: str = "self_attn.q_norm"
  key_norm: str = "self_attn.k_norm"
  attention_out: str = "self_attn.o_proj"
  feedforward_norm: str = "post_attention_layernorm"
  gate: str = "mlp.gate_proj"
  up: str = "mlp.up_proj"
  down: str = "mlp.down_proj"
  final_norm: str = "model.norm"
  head: str = "lm_head"


HUGGING_FACE = DecoderNames()


def name_map(network: Llama, names: DecoderNames = HUGGING_FACE) -> NameMap:
  """The name map of a decoder, for the parameters that the network has."""
  head = Line(f"{names.head}.weight", "head_kernel", "v d -> d v")
  lines = (
    Line(f"{names.embedding}.weight", "embedding"),
    *attention(network, names),
    *feedforward(names),
    Line(f"{names.final_norm}.weight", "final_norm/scale"),
    *(() if network.tied_head else (head,)),
  )
  tied = ((f"{names.head}.weight", f"{names.embedding}.weight"),) if network.tied_head else ()
  return NameMap(lines=lines, repeated=tied)


def attention(network: Llama, names: DecoderNames) -> tuple[Line, ...]:
  """The lines of attention in all layers, with the norm before it."""

  def line(name: str, ours: str, axes: str = "") -> Line:
    return Line(f"{names.layer}.{name}", f"layers/{ours}", axes)

  parts = {"query": names.query, "key": names.key, "value": names.value}
  lines = [line(f"{names.attention_norm}.weight", "attention_norm/scale")]
  for part, name in parts.items():
    lines.append(line(f"{name}.weight", f"attention/{part}", "(h k) d -> d h k"))
    if network.qkv_bias:
      lines.append(line(f"{name}.bias", f"attention/{part}_bias", "(h k) -> h k"))
  if network.qk_norm:
    lines.append(line(f"{names.query_norm}.weight", "attention/query_norm/scale"))
    lines.append(line(f"{names.key_norm}.weight", "attention/key_norm/scale"))
  lines.append(line(f"{names.attention_out}.weight", "attention/out", "d (h k) -> h k d"))
  return tuple(lines)


def feedforward(names: DecoderNames) -> tuple[Line, ...]:
  """The lines of the feedforward network in all layers, with the norm before it."""
  parts = {"gate": (names.gate, "f d -> d f"), "up": (names.up, "f d -> d f")}
  parts["down"] = (names.down, "d f -> f d")
  norm = Line(f"{names.layer}.{names.feedforward_norm}.weight", "layers/feedforward_norm/scale")
  return (
    norm,
    *(
      Line(f"{names.layer}.{name}.weight", f"layers/feedforward/{part}", axes)
      for part, (name, axes) in parts.items()
    ),
  )
