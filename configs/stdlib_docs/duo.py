"""Duo on the embedded corpus: uniform diffusion that begins with soft tokens from a Gaussian.

python -m dlm_jax.train --config=configs/stdlib_docs/duo.py --workdir=runs/duo
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import uniform


def get_config() -> ConfigDict:
  config = uniform.get_config()
  config.process.update(name="duo", curriculum_steps=config.training.steps // 2)
  return config
