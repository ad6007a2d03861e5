"""The flags by which a command is told which model it is about."""

from dataclasses import dataclass
from typing import Literal

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
  """Which model. One of the first two is given, and `workdir` is then the path of either.

  Attributes:
    model: directory of a checkpoint in the Hugging Face layout, or of a run.
    workdir: directory of the run. Either this or --model is given.
    weights: of a run: averaged weights, or those of the last step.
    step: of a run: step of the checkpoint. The default is the newest.
  """

  model: str | None = None
  workdir: str | None = None
  weights: Literal["ema", "raw"] = "ema"
  step: NonNegativeInt | None = None

  def __post_init__(self) -> None:
    resolve.require_ranges(self, "--")
    given = {path for path in (self.model, self.workdir) if path is not None}
    if len(given) != 1:
      which = "both are" if given else "neither is"
      raise UserError(
        "give --workdir (the directory of a run) or --model (that, or a directory in the Hugging "
        f"Face layout), and one of them alone: {which} given."
      )
    object.__setattr__(self, "workdir", self.workdir or self.model)
