"""The flags of the command `prepare`."""

from dataclasses import dataclass

from ml_collections import ConfigDict


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
  """What is prepared.

  Attributes:
    config: file in configs/, as in configs/stdlib_docs.py. Its section data says what is prepared;
      a field is set by --config.data.<field>=<value>.
  """

  config: ConfigDict
