"""The tensors of a DiT under the names of SEDD, which MDLM, BD3-LM, Duo and GIDD have as well."""

from dlm_jax.interop.name_map import Line, NameMap

# Buffers that follow from the config: rotary angles, and the times that BD3-LM trains on.
EXTRAS = (r"rotary_emb\.(inv_freq|cos_cached|sin_cached)", r"sampling_eps_(min|max)")
# Weights of linear layers, which PyTorch keeps as [out, in].
TURNED = "o i -> i o"


def name_map(prefix: str) -> NameMap:
  """The name map of a network whose names begin with `prefix`."""
  lines = (
    Line("vocab_embed.embedding", "embedding"),
    *_dense("sigma_map.mlp.0", "time/first"),
    *_dense("sigma_map.mlp.2", "time/second"),
    *_of_layers(),
    Line("output_layer.norm_final.weight", "final_norm/scale"),
    *_dense("output_layer.adaLN_modulation", "final_modulation"),
    Line("output_layer.linear.weight", "head_kernel", TURNED),
    Line("output_layer.linear.bias", "head_bias"),
  )
  extras = tuple(f"({prefix.replace('.', '[.]')})?{name}" for name in EXTRAS)
  named = tuple(Line(prefix + line.theirs, line.ours, line.axes) for line in lines)
  return NameMap(lines=named, extras=extras)


def _of_layers() -> tuple[Line, ...]:
  """The lines of all layers. Queries, keys and values lie one behind the other in one tensor."""
  lines = (
    Line("norm1.weight", "attention_norm/scale"),
    Line("attn_qkv.weight", "attention/qkv", "(three h k) d -> d three h k"),
    Line("attn_out.weight", "attention/out", "d (h k) -> h k d"),
    Line("norm2.weight", "feedforward_norm/scale"),
    Line("mlp.0.weight", "feedforward/up", TURNED),
    Line("mlp.0.bias", "feedforward/up_bias"),
    Line("mlp.2.weight", "feedforward/down", TURNED),
    Line("mlp.2.bias", "feedforward/down_bias"),
    *_dense("adaLN_modulation", "modulation"),
  )
  return tuple(
    Line(f"blocks.{{}}.{line.theirs}", f"blocks/{line.ours}", line.axes) for line in lines
  )


def _dense(theirs: str, ours: str) -> tuple[Line, ...]:
  """The two lines of a layer x W + b."""
  return (
    Line(f"{theirs}.weight", f"{ours}/kernel", TURNED),
    Line(f"{theirs}.bias", f"{ours}/bias"),
  )
