"""The fields of the `config.json` of LLaMA, Qwen2 and Qwen3, and of what came of them."""

from collections.abc import Mapping

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Json
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import ModelFacts
from dlm_jax.networks.llama import Llama


def network(
  config: ConfigFile,
  feedforward_width: str = "intermediate_size",
  default_rotary_base: float | None = None,
) -> dict[str, object]:
  """`network` of a config of ours: the sizes of the decoder, whatever its biases and norms.

  Args:
    config: of the checkpoint.
    feedforward_width: the name of the field that holds the width of a plain feedforward network.
    default_rotary_base: see `rotary_base`.

  Raises:
    UserError: a field is missing, or has a value that is not computed here.
  """
  config.require(hidden_act="silu", attention_bias=False, mlp_bias=False)
  config.require(use_sliding_window=False, use_mrope=False)
  config.ignore("sliding_window")
  layers = config.integer("num_hidden_layers")
  config.require(layer_types=["full_attention"] * layers)
  heads = config.integer("num_attention_heads")
  return {
    "name": "llama",
    "width": config.integer("hidden_size"),
    "heads": heads,
    "kv_heads": config.integer("num_key_value_heads", heads),
    "head_width": config.integer("head_dim", 0),
    "depth": layers,
    "feedforward_width": config.integer(feedforward_width),
    "rotary_base": rotary_base(config, default_rotary_base),
    "epsilon": config.number("rms_norm_eps"),
    "tied_head": config.flag("tie_word_embeddings", False),
  }


def fields(model: ModelFacts) -> dict[str, Json]:
  """The fields of a `config.json` that say what `network` reads, and the special symbols."""
  decoder = model.network
  assert isinstance(decoder, Llama)
  return {
    "attention_bias": False,
    "head_dim": decoder.size_of_head,
    "hidden_act": "silu",
    "hidden_size": decoder.width,
    "intermediate_size": decoder.hidden_width,
    "max_position_embeddings": model.length,
    "num_attention_heads": decoder.heads,
    "num_hidden_layers": decoder.depth,
    "num_key_value_heads": decoder.key_heads,
    "rms_norm_eps": decoder.epsilon,
    "rope_theta": decoder.rotary_base,
    "tie_word_embeddings": model.tied_head,
    "vocab_size": model.rows,
    **model.special,
  }


def rotary_base(config: ConfigFile, default: float | None = None) -> float:
  """The theta of rotary embedding, where the file has it: alone, or under `rope_parameters`.

  Args:
    config: of the checkpoint.
    default: what it is where the file has it nowhere; None: the file must have it.

  Raises:
    UserError: the angles are scaled, which is not computed here.
  """
  config.require(rope_scaling=({"rope_type": "default"}, {"type": "default"}))
  stated = config.fields.get("rope_parameters")
  if not isinstance(stated, Mapping):
    return config.number("rope_theta", default)
  config.ignore("rope_parameters", "rope_theta")
  inner = ConfigFile(stated, f"{config.path}, rope_parameters", config.family)
  inner.require(rope_type="default")
  base = inner.number("rope_theta")
  inner.finish()
  return base


def begin_id(config: ConfigFile) -> int:
  """The token before a text: the begin symbol, or where there is none, the end of the text before.

  Raises:
    UserError: the file has neither.
  """
  for name in ("bos_token_id", "eos_token_id"):
    if config.fields.get(name) is not None:
      return config.integer(name)
  raise UserError(
    f"{config.path} has neither bos_token_id nor eos_token_id: write the id of the token that "
    "stands before a text into it."
  )


def dense_layers(config: ConfigFile, dense: list[bool]) -> int:
  """How many layers stand before those with experts, for whether each has a plain network.

  Raises:
    UserError: a plain one comes after one with experts.
  """
  first = dense.index(False) if False in dense else len(dense)
  if any(dense[first:]):
    raise UserError(
      f"{config.path} has layers without experts after layers with experts: of {config.family} "
      "checkpoints only those can be opened whose first layers alone have none."
    )
  return first
