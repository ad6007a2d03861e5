"""The flags of the command `export`."""

from dataclasses import dataclass
from pathlib import Path

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.model.model_settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class ExportSettings(ModelSettings):
  """Which model is written, and where to.

  Attributes:
    output: the directory to write, which must not exist yet.
  """

  output: str

  def __post_init__(self) -> None:
    ModelSettings.__post_init__(self)
    if storage.is_remote(self.output):
      raise UserError(f"--output {self.output} is remote: write to a local directory and copy it.")
    if self.path.exists():
      raise UserError(
        f"--output {self.output} exists already, and nothing is overwritten: name another."
      )
    storage.require_parent(self.output)

  @property
  def path(self) -> Path:
    """Of the directory to write."""
    return storage.expand(self.output)
