"""What every experiment of continuous diffusion starts from, over `defaults`."""

from ml_collections import ConfigDict

from configs import defaults


def get_config() -> ConfigDict:
  config = defaults.get_config()
  config.process = ConfigDict(
    {
      "name": "gaussian",
      "schedule": {"name": "linear"},
      "width": 16,
      "norm": "unit",
      "parameterization": "categorical",
      "objective": "vlb",
      "output_prior": True,
      "shared_head": False,
      "self_conditioning": 0.0,
      "reconstruction_share": 0.0625,
    }
  )
  config.times.epsilon = 0.0
  config.network.time_conditioned = True
  config.optimizer.schedule_learning_rate = 1e-2
  return config
