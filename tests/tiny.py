"""The smallest experiment that goes all the way: a Markov chain, two narrow layers, short rows."""

from ml_collections import ConfigDict

from configs import defaults
from dlm_jax import configuration


def config(directory, **fields) -> ConfigDict:
  """The config with its data under `directory`; `fields` are dotted names and their values, or
  `process` or `data.corpus` as a whole."""
  config = defaults.get_config()
  config.data = {
    "corpus": {
      "name": "synthetic_markov",
      "letters": 5,
      "train_characters": 4000,
      "validation_characters": 800,
      "test_characters": 800,
    },
    "tokenizer": {"name": "text8"},
    "packing": "stream",
    "length": 16,
    "directory": str(directory),
  }
  config.network.update(width=32, heads=2, depth=2, condition_width=16)
  config.optimizer.update(name="muon", warmup_steps=2, learning_rate=1e-2)
  config.training.update(steps=12, batch_size=16, log_every=2, evaluate_every=6, ema_decay=0.9)
  config.evaluation.update(rows=16, batch_size=16)
  config.checkpoint.update(save_every=4, keep_latest=3)
  if "process" in fields:
    config.process = fields.pop("process")
  if "data.corpus" in fields:
    config.data.corpus = fields.pop("data.corpus")
  return configuration.override(config, fields).lock()
