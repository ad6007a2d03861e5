"""LangFlow on the embedded corpus."""

from ml_collections import ConfigDict

from configs import continuous


def get_config() -> ConfigDict:
  config = continuous.on_stdlib_docs(continuous.langflow())
  # Embeddings as wide as the network, as in the paper; the information of 27 symbols lies higher.
  config.process.width = config.network.width
  config.process.schedule.update(location=3.5, entropy=3.3)
  return config
