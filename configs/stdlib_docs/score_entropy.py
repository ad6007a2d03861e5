"""Score entropy (SEDD) on the embedded corpus: ratios of probabilities in place of predictions.

  python -m dlm_jax.train --config=configs/stdlib_docs/score_entropy.py --workdir=runs/score_entropy

With --config.process.noise=uniform --config.process.schedule.name=geometric the noise is uniform.
"""

from ml_collections import ConfigDict

from configs.stdlib_docs import absorbing


def get_config() -> ConfigDict:
  config = absorbing.get_config()
  config.process = {
    "name": "score_absorbing",
    "schedule": {"name": "log_linear"},
  }
  config.evaluation.process = {}
  config.network.update(conditioning="adaln", time_conditioned=True)
  return config
