"""DiffuGPT: GPT-2 trained on with full attention, with its label shift (Gong et al. 2024)."""

from collections.abc import Mapping

from dlm_jax.core.types import Json, Record
from dlm_jax.interop import decoder_family, gpt2_names
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network


class DiffuGpt(CheckpointFamily):
  """See the module."""

  def recognises(self, config: Mapping[str, Json]) -> bool:
    stated = config.get("architectures"), config.get("model_type")
    return stated == (["DiscreteDiffusionModel"], "gpt2")

  def describe(self, config: ConfigFile) -> Description:
    return Description(
      family=self.name,
      vocab_size=config.integer("vocab_size"),
      length=config.integer("n_positions"),
      network={**gpt2_names.network(config), "label_shift": True},
      process=decoder_family.absorbing(config),
      mask_tokens=("[MASK]", "<|mask|>", "<mask>"),
    )

  def config(self, description: Description) -> Record:
    mask = {"mask_token_id": description.process["mask_id"]}
    return {"architectures": ["DiscreteDiffusionModel"], **mask, **gpt2_names.config(description)}

  def name_map(self, network: Network) -> NameMap:
    return gpt2_names.name_map("embed_tokens.weight", "denoise_model.")


def make() -> DiffuGpt:
  """The family."""
  return DiffuGpt()
