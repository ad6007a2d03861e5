"""Continuous diffusion: what its experiments start from, and the four recipes of the papers.

A recipe sets the process. `on_stdlib_docs` and `on_text8` add the data, and the network and the
training that fit it.
"""

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


def plaid() -> ConfigDict:
  """Plaid (Gulrajani and Hashimoto 2023): the bound, under a schedule learned to make it calm."""
  config = get_config()
  config.process.schedule = {"name": "monotone", "gamma_min": -3.0, "gamma_max": 6.0}
  config.process.self_conditioning = 0.25
  return config


def cdcd() -> ConfigDict:
  """CDCD (Dieleman et al. 2022): cross-entropy under time warping."""
  config = get_config()
  config.process.update(
    width=256,
    norm="root",
    objective="cross_entropy",
    output_prior=False,
    self_conditioning=0.5,
    # Noise from 2 to 300 on embeddings of size sqrt(256), in their own numbers: 2 log 2, 2 log 300.
    schedule={"name": "warped", "gamma_min": 1.386, "gamma_max": 11.408, "entropy": 3.3},
  )
  return config


def diffusion_lm() -> ConfigDict:
  """Diffusion-LM (Li et al. 2022): the clean embedding is predicted, by its squared error."""
  config = get_config()
  config.process.update(
    norm="root", parameterization="x", objective="mse", schedule={"name": "sqrt"}
  )
  return config


def langflow() -> ConfigDict:
  """LangFlow (2026): cross-entropy under a Gumbel schedule, uniform in information.

  The authors' training code is not released. From the paper: rows of size sqrt(W), the schedule,
  its fit and cutoff, the output prior, self-conditioning at 0.25 with a projection that starts at
  zero. Inferred: the schedule's own learning rate and optimizer, and that its first entropy is
  log V.
  """
  config = get_config()
  config.process.update(
    width=768,
    norm="root",
    objective="cross_entropy",
    self_conditioning=0.25,
    schedule={"name": "gumbel", "location": 4.723, "scale": 0.852, "entropy": 10.8},
  )
  return config


def on_stdlib_docs(config: ConfigDict) -> ConfigDict:
  """The embedded corpus, with a network that trains within ten minutes on two cores."""
  config.data = {
    "corpus": {"name": "stdlib_docs"},
    "tokenizer": {"name": "text8"},
    "packing": "stream",
    "length": 64,
    "directory": "data",
  }
  config.network.update(width=128, heads=4, depth=4, dropout=0.0, norm="rms", qk_norm=True)
  config.optimizer.update(
    name="muon",
    learning_rate=2e-3,
    matrix_learning_rate=1e-2,
    warmup_steps=50,
    decay="linear",
  )
  config.training.update(steps=500, batch_size=64, log_every=50, evaluate_every=100, ema_decay=0.98)
  config.evaluation.update(rows=256, batch_size=64)
  config.checkpoint.update(save_every=100)
  return config


def on_text8(config: ConfigDict) -> ConfigDict:
  """text8 in the small recipe of the papers: 256 characters a row, batches of 512."""
  config.data = {
    "corpus": {"name": "text8"},
    "tokenizer": {"name": "text8"},
    "packing": "stream",
    "length": 256,
    "directory": "data",
  }
  return config
