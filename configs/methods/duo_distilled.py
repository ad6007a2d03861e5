"""Consistency distillation of a Duo model (Sahoo et al. 2025, section 4.2): fewer steps suffice.

The loss is the divergence from the teacher; the bound gets worse, and samples of few steps better.
`teacher=runs/duo` names the run of `:duo` on the same corpus.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.methods import duo
from configs.recipes import DISTILLATION_TRAINING, DUO

SECTION = f"{DUO}, section 4.2"
CODE = f"{DUO}, the authors' configs/algo/distillation.yaml"
RECIPE = (*duo.RECIPE, *DISTILLATION_TRAINING)
BUDGET = (
  Field("training.steps", 50_000, SECTION),
  Field("distillation.gap", 1 / 512, SECTION),
  Field("distillation.steps_per_round", 10_000, SECTION),
)


def fields(config: ConfigDict, teacher: str = "runs/duo") -> tuple[Field, ...]:
  return (
    *duo.fields(config),
    Field("process.curriculum_steps", 0, SECTION),
    Field("distillation.teacher", teacher, SECTION),
    Field("distillation.gammas", (-4.0, -1.0), CODE),
  )
