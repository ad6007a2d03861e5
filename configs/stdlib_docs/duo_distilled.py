"""Consistency distillation of the Duo model of the embedded corpus, for sampling in few steps.

  python -m dlm_jax.train --config=configs/stdlib_docs/duo.py --workdir=runs/duo
  python -m dlm_jax.train --config=configs/stdlib_docs/duo_distilled.py --workdir=runs/duo_distilled

The loss is the divergence from the teacher; the bound gets worse, and samples of few steps better.
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import duo


def get_config() -> ConfigDict:
  config = duo.get_config()
  config.process.update(curriculum_steps=0)
  config.distillation.update(teacher="runs/duo", gap=1 / 32, steps_per_round=50)
  config.optimizer.update(learning_rate=1e-3, matrix_learning_rate=1e-3)
  config.training.update(evaluate_every=50)
  config.checkpoint.update(save_every=50)
  config.training.update(steps=250)
  return config
