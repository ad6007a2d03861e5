"""What the tensors of a LLaMA decoder are called, by `transformers` and by others."""

from dataclasses import dataclass

from dlm_jax.interop.name_map import Line, NameMap
from dlm_jax.networks.llama import Llama


@dataclass(frozen=True, kw_only=True)
class DecoderNames:
  """What the tensors of a decoder are called, without `.weight` and `.bias`; those of a layer with
  `{}` for its number, those of an expert with a second one.

  Where `packed` is a name, queries, keys and values are one tensor of that name.
  """

  embedding: str = "model.embed_tokens"
  layer: str = "model.layers.{}"
  attention_norm: str = "input_layernorm"
  query: str = "self_attn.q_proj"
  key: str = "self_attn.k_proj"
  value: str = "self_attn.v_proj"
  packed: str = ""
  query_norm: str = "self_attn.q_norm"
  key_norm: str = "self_attn.k_norm"
  attention_out: str = "self_attn.o_proj"
  feedforward_norm: str = "post_attention_layernorm"
  gate: str = "mlp.gate_proj"
  up: str = "mlp.up_proj"
  down: str = "mlp.down_proj"
  router: str = "mlp.gate"
  router_bias: str = "mlp.gate.expert_bias"
  expert: str = "mlp.experts.{}"
  shared_experts: str = "mlp.shared_experts"
  final_norm: str = "model.norm"
  head: str = "lm_head"


HUGGING_FACE = DecoderNames()


def name_map(network: Llama, names: DecoderNames = HUGGING_FACE) -> NameMap:
  """The name map of a decoder, for the parameters that the network has."""
  head = Line(f"{names.head}.weight", "head_kernel", "v d -> d v")
  lines = [Line(f"{names.embedding}.weight", "embedding")]
  first = 0
  for name, depth in network.stacks.items():
    stack = _Stack(network, names, name, first)
    with_experts = network.experts and name == network.layers_name
    lines += stack.attention()
    lines += stack.experts() if with_experts else stack.feedforward()
    first += depth
  lines.append(Line(f"{names.final_norm}.weight", "final_norm/scale"))
  if network.tied_head:
    repeated = ((head.theirs, lines[0].theirs),)
    return NameMap(lines=tuple(lines), repeated=repeated)
  return NameMap(lines=(*lines, head))


@dataclass(frozen=True)
class _Stack:
  """Layers of one kind.

  Attributes:
    network, names: of all.
    stack: the name under which the parameters hold these layers.
    first: the number of the first one in the file.
  """

  network: Llama
  names: DecoderNames
  stack: str
  first: int

  def attention(self) -> list[Line]:
    """The lines of attention, with the norm before it."""
    names, network = self.names, self.network
    parts = {"query": names.query, "key": names.key, "value": names.value}
    lines = [self._line(f"{names.attention_norm}.weight", "attention_norm/scale")]
    if names.packed:
      all_three = tuple(f"attention/{part}" for part in parts)
      lines.append(self._line(f"{names.packed}.weight", all_three, "(h k) d -> d h k"))
    else:
      for part, name in parts.items():
        lines.append(self._line(f"{name}.weight", f"attention/{part}", "(h k) d -> d h k"))
        if network.qkv_bias:
          lines.append(self._line(f"{name}.bias", f"attention/{part}_bias", "(h k) -> h k"))
    if network.qk_norm:
      lines.append(self._line(f"{names.query_norm}.weight", "attention/query_norm/scale"))
      lines.append(self._line(f"{names.key_norm}.weight", "attention/key_norm/scale"))
    out = self._line(f"{names.attention_out}.weight", "attention/out", "d (h k) -> h k d")
    return [*lines, out]

  def feedforward(self) -> list[Line]:
    """The lines of the feedforward network, with the norm before it."""
    names = self.names
    return [self._norm(), *self._gated("feedforward", names.gate, names.up, names.down)]

  def experts(self) -> list[Line]:
    """The lines of a mixture of experts, with the norm before it."""
    names, parts = self.names, ("gate_proj", "up_proj", "down_proj")
    lines = [self._norm(), self._line(f"{names.router}.weight", "experts/router", "e d -> d e")]
    if self.network.router_bias != "none":
      lines.append(self._line(names.router_bias, "experts/router_bias"))
    lines += self._gated("experts", *(f"{names.expert}.{part}" for part in parts))
    if self.network.shared_experts:
      lines += self._gated("feedforward", *(f"{names.shared_experts}.{part}" for part in parts))
    return lines

  def _norm(self) -> Line:
    return self._line(f"{self.names.feedforward_norm}.weight", "feedforward_norm/scale")

  def _gated(self, ours: str, gate: str, up: str, down: str) -> list[Line]:
    """The three matrices of a gated feedforward network."""
    return [
      self._line(f"{gate}.weight", f"{ours}/gate", "f d -> d f"),
      self._line(f"{up}.weight", f"{ours}/up", "f d -> d f"),
      self._line(f"{down}.weight", f"{ours}/down", "d f -> f d"),
    ]

  def _line(self, theirs: str, ours: str | tuple[str, ...], axes: str = "") -> Line:
    paths = (ours,) if isinstance(ours, str) else ours
    return Line(
      f"{self.names.layer}.{theirs}",
      tuple(f"{self.stack}/{path}" for path in paths),
      axes,
      first_layer=self.first,
    )
