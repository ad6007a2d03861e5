"""Families that are a LLaMA, Qwen2 or Qwen3 decoder under the names of `transformers`."""

from typing import ClassVar

from dlm_jax.core.types import Fields, Record
from dlm_jax.interop import decoder_config, decoder_names, family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_names import DecoderNames
from dlm_jax.interop.family import CheckpointFamily, Description, ModelFacts
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network
from dlm_jax.networks.llama import Llama


class DecoderFamily(CheckpointFamily):
  """A decoder and what its outputs mean.

  Attributes:
    network_fields: of the network, what all models of the family have and `config.json` does not
      say: biases, norms of queries and keys, the label shift.
    names: what its tensors are called.
    model_type: in the `config.json` of a model of ours; empty where none is written in this layout.
    process_name, in_blocks: which models of ours are.
    mask_tokens: see `Description`.
    default_rotary_base: of files that are older than the field `rope_theta`; None: there are none.
  """

  names: ClassVar[DecoderNames] = decoder_names.HUGGING_FACE
  network_fields: ClassVar[Fields] = {}
  model_type: ClassVar[str] = ""
  process_name: ClassVar[str] = "absorbing"
  in_blocks: ClassVar[bool] = False
  mask_tokens: ClassVar[tuple[str, ...]] = ()
  default_rotary_base: ClassVar[float | None] = None

  def network(self, config: ConfigFile) -> Fields:
    """The network of the family, as a config of ours has it."""
    sizes = decoder_config.network(config, default_rotary_base=self.default_rotary_base)
    return {**sizes, **self.network_fields}

  def process(self, config: ConfigFile) -> Fields:
    """The process of the family, as a config of ours has it."""
    raise NotImplementedError

  def describe(self, config: ConfigFile) -> Description:
    process = self.process(config)
    return Description(
      family=self.name,
      vocab_size=config.integer("vocab_size"),
      length=config.integer("max_position_embeddings"),
      network=self.network(config),
      process=process,
      scored_as=family.COUNTED if process["name"] == "absorbing" else {},
      mask_tokens=self.mask_tokens,
    )

  def own_config(self, model: ModelFacts) -> Record | None:
    process = model.process
    written = (process.name, process.block_size is not None) == (self.process_name, self.in_blocks)
    if not self.model_type or not written or not isinstance(model.network, Llama):
      return None
    said = {"mask_token_id": process.mask_id, "block_size": process.block_size}
    return {
      "architectures": [self.architectures[0]],
      "model_type": self.model_type,
      **decoder_config.fields(model),
      **{name: value for name, value in said.items() if value is not None},
    }

  def name_map(self, network: Network) -> NameMap:
    assert isinstance(network, Llama)
    return decoder_names.name_map(network, self.names)


def absorbing(config: ConfigFile) -> Fields:
  """Masked diffusion of the whole row."""
  return {"name": "absorbing", "mask_id": config.mask_id()}


def blocks(config: ConfigFile, block_size: int) -> Fields:
  """Masked diffusion block by block."""
  return {"name": "block", "block_size": block_size, "inner": absorbing(config)}


def autoregressive(config: ConfigFile) -> Fields:
  """Token by token."""
  return {"name": "autoregressive", "begin_id": decoder_config.begin_id(config)}
