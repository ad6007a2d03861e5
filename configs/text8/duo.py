"""Duo on text8: uniform diffusion that begins with soft tokens from a Gaussian.

python -m dlm_jax.train --config=configs/text8/duo.py --workdir=runs/duo
"""

from ml_collections import ConfigDict

from configs.text8 import uniform


def get_config(preset: str = "small") -> ConfigDict:
  config = uniform.get_config(preset)
  config.process.update(name="duo", curriculum_steps=config.training.steps // 2)
  return config
