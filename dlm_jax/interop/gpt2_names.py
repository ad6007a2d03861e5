"""GPT-2: what its `config.json` says of the network, and its tensors.

Its linear layers keep their weights as [in, out], unlike those of all other families.
"""

from dlm_jax.core.types import Record
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import Description
from dlm_jax.interop.name_map import Line, NameMap

# A layer: the mask of causal attention as a buffer, in files of older releases.
EXTRAS = (r"(transformer[.]|denoise_model[.])?h[.]\d+[.]attn[.](bias|masked_bias)",)
# Fields of the network, and what they are called in the file.
SIZES = {
  "width": "n_embd",
  "heads": "n_head",
  "depth": "n_layer",
  "learned_positions": "n_positions",
}
_LAYERS = (
  Line("ln_1.weight", "attention_norm/scale"),
  Line("ln_1.bias", "attention_norm/bias"),
  Line("attn.c_attn.weight", "attention/qkv", "d (three h k) -> d three h k"),
  Line("attn.c_attn.bias", "attention/qkv_bias", "(three h k) -> three h k"),
  Line("attn.c_proj.weight", "attention/out", "(h k) d -> h k d"),
  Line("attn.c_proj.bias", "attention/out_bias"),
  Line("ln_2.weight", "feedforward_norm/scale"),
  Line("ln_2.bias", "feedforward_norm/bias"),
  Line("mlp.c_fc.weight", "feedforward/up"),
  Line("mlp.c_fc.bias", "feedforward/up_bias"),
  Line("mlp.c_proj.weight", "feedforward/down"),
  Line("mlp.c_proj.bias", "feedforward/down_bias"),
)


def network(config: ConfigFile) -> dict[str, object]:
  """`network` of a config of ours.

  Raises:
    UserError: a field is missing, or has a value that is not computed here.
  """
  config.require(
    activation_function=("gelu_new", "gelu_pytorch_tanh"),
    add_cross_attention=False,
    reorder_and_upcast_attn=False,
    scale_attn_by_inverse_layer_idx=False,
    scale_attn_weights=True,
    tie_word_embeddings=True,
  )
  config.ignore("attn_pdrop", "embd_pdrop", "n_ctx", "summary_activation", "summary_first_dropout")
  config.ignore("summary_proj_to_labels", "summary_type", "summary_use_proj")
  sizes = {ours: config.integer(theirs) for ours, theirs in SIZES.items()}
  config.require(n_inner=4 * sizes["width"])
  return {
    "name": "transformer",
    **sizes,
    "epsilon": config.number("layer_norm_epsilon"),
    "dropout": config.number("resid_pdrop"),
    "biases": True,
    "conditioning": "none",
    "head_bias": False,
    "tied_head": True,
  }


def config(description: Description) -> Record:
  """The fields of `config.json` that `network` reads so, and the size of the vocabulary."""
  sizes = {theirs: description.network[ours] for ours, theirs in SIZES.items()}
  return {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "vocab_size": description.vocab_size,
    **sizes,
    "n_ctx": sizes["n_positions"],
    "layer_norm_epsilon": description.network["epsilon"],
    "resid_pdrop": description.network["dropout"],
    "torch_dtype": "float32",
  }


def name_map(embedding: str, rest: str, optional_prefix: str = "") -> NameMap:
  """The name map.

  Args:
    embedding: the name of the table of tokens.
    rest: what the names of all other tensors begin with.
    optional_prefix: see `NameMap`.
  """
  layers = (
    Line(f"{rest}h.{{}}.{line.theirs}", f"blocks/{line.ours}", line.axes) for line in _LAYERS
  )
  lines = (
    Line(embedding, "embedding"),
    Line(f"{rest}wpe.weight", "position_embedding"),
    *layers,
    Line(f"{rest}ln_f.weight", "final_norm/scale"),
    Line(f"{rest}ln_f.bias", "final_norm/bias"),
  )
  copies = (("lm_head.weight", embedding),)
  return NameMap(lines=lines, repeated=copies, optional_prefix=optional_prefix, extras=EXTRAS)
