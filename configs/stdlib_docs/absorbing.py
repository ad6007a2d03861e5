"""Masked diffusion on the embedded corpus: the quickstart, sized for two CPU cores.

  python -m dlm_jax.train --config=configs/stdlib_docs/absorbing.py --workdir=runs/quickstart

Small in every way, and Muon. Counted masking and a capped weight quieten the gradient: at equal
steps they are worth more than any other choice here.
"""

from ml_collections import ConfigDict

from configs import defaults


def sweep() -> list[dict[str, str]]:
  """An ablation of the noise schedule for `launch/sweep.py`: everything else stays equal."""
  return [{"process.schedule.name": name} for name in ("linear", "cosine", "polynomial")]


def get_config() -> ConfigDict:
  config = defaults.get_config()
  config.data = {
    "corpus": {"name": "stdlib_docs"},
    "tokenizer": {"name": "text8"},
    "packing": "stream",
    "length": 64,
    "directory": "data",
  }
  config.process.update(masking="counted", weighting="min_capped", weight_cap=2.0)
  config.network.update(
    width=128, heads=1, depth=4, norm="rms", conditioning="none", dropout=0.0, unroll=0
  )
  config.optimizer.update(
    name="muon",
    learning_rate=8e-3,
    matrix_learning_rate=1e-2,
    beta2=0.95,
    warmup_steps=50,
    decay="linear",
  )
  config.training.update(
    steps=1000, batch_size=64, ema_decay=0.99, log_every=20, evaluate_every=250
  )
  config.evaluation.update(rows=512, batch_size=64)
  config.checkpoint.update(save_every=250)
  return config
