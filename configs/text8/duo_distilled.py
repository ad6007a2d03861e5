"""Consistency distillation of the Duo model of text8, for sampling in few steps.

  python -m dlm_jax.train --config=configs/text8/duo.py --workdir=runs/duo
  python -m dlm_jax.train --config=configs/text8/duo_distilled.py --workdir=runs/duo_distilled

The loss is the divergence from the teacher; the bound gets worse, and samples of few steps better.
"""

from ml_collections import ConfigDict

from configs.text8 import duo


def get_config(preset: str = "small") -> ConfigDict:
  config = duo.get_config(preset)
  config.process.update(curriculum_steps=0)
  config.distillation.update(teacher="runs/duo", gap=1 / 512, steps_per_round=10000)
  config.training.update(steps=50000)
  return config
