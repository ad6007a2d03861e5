"""What every experiment starts from: the small recipe of the papers (MDLM, SEDD, Duo, BD3-LM).

Each field is documented where it is read: `dlm_jax/experiment.py` names the place.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
  config = ConfigDict()
  config.seed = 0
  config.data = ConfigDict()
  config.process = {
    "name": "absorbing",
    "mask_id": placeholder(int),  # outside the data unless set
    "schedule": {"name": "linear"},
    "masking": "independent",
    "timesteps": placeholder(int),  # the continuous-time bound unless set
    "weighting": "nelbo",
    "weight_cap": 5.0,
  }
  config.times = {"sampling": "shared_offset", "epsilon": 1e-3, "importance": False}
  config.network = {
    "name": "transformer",
    "preset": "small",
    "width": placeholder(int),  # of the preset unless set, and so the next two, unroll and remat
    "heads": placeholder(int),
    "depth": placeholder(int),
    "feedforward": "gelu",
    "norm": "layer",
    "qk_norm": False,
    "conditioning": "adaln",
    "time_conditioned": False,
    "condition_width": 128,
    "tied_head": False,
    "dropout": 0.1,
    "dtype": "auto",
    "attention": "auto",
    "unroll": placeholder(int),
    "remat": placeholder(str),
  }
  config.optimizer = {
    "name": "adamw",
    "learning_rate": 3e-4,
    "matrix_learning_rate": 3e-3,
    "warmup_steps": 2500,
    "decay": "constant",
    "final_fraction": 0.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "momentum": 0.95,
    "weight_decay": 0.0,
    "clip": 1.0,
  }
  config.training = {
    "steps": 1_000_000,
    "batch_size": 512,
    "accumulate": 1,
    "ema_decay": 0.9999,
    "log_every": 100,
    "evaluate_every": 10_000,
    "max_skipped": 10,
    "head_chunks": 1,
    "head_capacity": 0.0,
  }
  config.distillation = {"teacher": "", "gap": 1 / 512, "steps_per_round": 10_000}
  config.evaluation = {"rows": 4096, "samples": 1, "batch_size": 512, "process": {}}
  config.checkpoint = {"save_every": 10_000, "keep_latest": 2, "keep_every": placeholder(int)}
  config.mesh = {"data": -1, "fsdp": 1, "tensor": 1}
  config.wandb_project = ""
  return config
