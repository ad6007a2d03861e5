"""GPT-2 as it was trained, autoregressively: a control, and a start (Radford et al. 2019)."""

from typing import ClassVar

from dlm_jax.core.types import Record
from dlm_jax.interop import decoder_family, gpt2_names
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network


class Gpt2Autoregressive(CheckpointFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("GPT2LMHeadModel",)

  def describe(self, config: ConfigFile) -> Description:
    return Description(
      family=self.name,
      vocab_size=config.integer("vocab_size"),
      length=config.integer("n_positions"),
      network=gpt2_names.network(config),
      process=decoder_family.autoregressive(config),
    )

  def config(self, description: Description) -> Record:
    begin = description.process["begin_id"]
    names = {"architectures": [*self.architectures], "bos_token_id": begin, "eos_token_id": begin}
    return {**names, **gpt2_names.config(description)}

  def name_map(self, network: Network) -> NameMap:
    return gpt2_names.name_map("transformer.wte.weight", "transformer.", "transformer.")


def make() -> Gpt2Autoregressive:
  """The family."""
  return Gpt2Autoregressive()
