"""What every experiment starts from, before its corpus and its method.

A field that is not here has the default of the part that reads it; `--show_config` prints them all.
Those defaults, and the sizes below, are the small recipe that MDLM, SEDD, Duo and BD3-LM share.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  config = ConfigDict()
  config.seed = 0
  config.data = {"packing": "stream", "directory": "data"}
  config.process = {"name": "absorbing"}
  config.times = {}
  config.network = {"name": "transformer", "preset": "small"}
  config.optimizer = {"name": "adamw"}
  config.training = {
    "steps": 1_000_000,
    "batch_size": 512,
    "log_every": 100,
    "evaluate_every": 10_000,
  }
  config.distillation = {}
  config.evaluation = {"rows": 4096, "batch_size": 512, "process": {}}
  config.checkpoint = {"save_every": 10_000}
  config.mesh = {"data": -1}
  config.wandb_project = ""
  return config
