"""Score entropy (SEDD) on text8: ratios of probabilities in place of predictions.

  python -m dlm_jax.train --config=configs/text8/score_entropy.py --workdir=runs/score_entropy

With --config.process.noise=uniform --config.process.schedule.name=geometric the noise is uniform.
Published for `small` after a million steps: at most 1.39 bits a character.
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config(preset: str = "small") -> ConfigDict:
  config = absorbing.get_config(preset)
  config.process = {
    "name": "score_absorbing",
    "schedule": {"name": "log_linear"},
  }
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
