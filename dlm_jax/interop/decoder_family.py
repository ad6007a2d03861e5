"""Families that are a LLaMA, Qwen2 or Qwen3 decoder under the names of `transformers`."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_config, decoder_names, family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_names import DecoderNames
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network
from dlm_jax.networks.llama import Llama


class DecoderFamily(CheckpointFamily):
  """A decoder and what its outputs mean.

  Attributes:
    network_fields: of the network, what all models of the family have and `config.json` does not
      say: biases, norms of queries and keys, the label shift.
    names: what its tensors are called.
    mask_tokens: see `Description`.
  """

  names: ClassVar[DecoderNames] = decoder_names.HUGGING_FACE
  network_fields: ClassVar[Fields] = {}
  mask_tokens: ClassVar[tuple[str, ...]] = ()

  def network(self, config: ConfigFile) -> Fields:
    """The network of the family, as a config of ours has it."""
    return {**decoder_config.network(config), **self.network_fields}

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
