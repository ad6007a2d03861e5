"""SDTT (Deschenaux and Gulcehre 2025): self-distillation through time of a masked model.

A student learns in one step what its teacher does in two; after each round it is the teacher.
`teacher=runs/mdlm` names the run of `:mdlm` on the same corpus.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.methods import mdlm
from configs.recipes import DISTILLATION_TRAINING

SDTT = "SDTT, Deschenaux and Gulcehre 2025"
CODE = f"{SDTT}, the authors' README"
# The learning rate of the paper was not looked up: it is that of Duo's distillation.
RECIPE = (
  *mdlm.RECIPE,
  *DISTILLATION_TRAINING,
  Field("training.ema_decay", 0.9999, SDTT),
)
BUDGET = (
  Field("training.steps", 80_000, CODE),
  Field("distillation.gap", 1 / 512, f"{SDTT}, section 4: two steps of 1024"),
  Field("distillation.steps_per_round", 10_000, CODE),
)


def fields(config: ConfigDict, teacher: str = "runs/mdlm") -> tuple[Field, ...]:
  return (
    *mdlm.fields(config),
    Field("distillation.teacher", teacher, f"{SDTT}, section 3"),
  )
