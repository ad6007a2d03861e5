"""Score entropy (SEDD) on text8: the masked run with ratios in place of predictions.

  python -m dlm_jax.train --config=configs/text8/score_entropy.py --workdir=runs/score_entropy

With the argument `:uniform` the noise is uniform.
"""

from ml_collections import ConfigDict

from configs.text8 import absorbing


def get_config(noise: str = "absorbing") -> ConfigDict:
  config = absorbing.get_config()
  schedule = "geometric" if noise == "uniform" else "log_linear"
  config.process = {"name": "score_entropy", "noise": noise, "schedule": {"name": schedule}}
  config.network.time_conditioned = True
  config.training.head_capacity = 0.0
  return config
