"""Masked diffusion on text8, by the recipe of MD4 (Shi et al. 2024, appendix): they report at most
1.37 bits a character on the test split; MDLM's recipe gives 1.40.

  python -m dlm_jax.train --config=configs/text8/absorbing.py --workdir=runs/text8
"""

from ml_collections import ConfigDict

from configs import defaults


def get_config() -> ConfigDict:
  config = defaults.get_config()
  config.data = {
    "corpus": {"name": "text8"},
    "tokenizer": {"name": "text8"},
    "packing": "stream",
    "length": 256,
    "directory": "data",
  }
  config.network.dropout = 0.05
  config.optimizer.update(
    learning_rate=5e-4, weight_decay=0.03, warmup_steps=2000, decay="cosine", final_fraction=0.0
  )
  return config
