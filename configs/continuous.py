"""Continuous diffusion: the recipes of four papers, to put in the place of masked diffusion.

A recipe is a process. `apply` puts it into the config of a masked run, which stays as it is but for
what a continuous process needs: the time, at which all of [0, 1] counts, and a rate for schedules.
"""

import math

from ml_collections import ConfigDict


def apply(config: ConfigDict, process: ConfigDict) -> ConfigDict:
  """`config`, which is of masked diffusion, with `process` in place of it."""
  config.process = process
  config.evaluation.process = {}
  config.times.epsilon = 0.0
  config.network.update(conditioning="adaln", time_conditioned=True)
  config.optimizer.schedule_learning_rate = 1e-2
  return config


def gaussian() -> ConfigDict:
  """Embeddings of 16 numbers and unit size; the network predicts tokens, and learns the bound."""
  return ConfigDict(
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


def plaid() -> ConfigDict:
  """Plaid (Gulrajani and Hashimoto 2023): the bound, under a schedule learned to make it calm."""
  process = gaussian()
  process.schedule = {"name": "monotone", "gamma_min": -3.0, "gamma_max": 6.0}
  process.self_conditioning = 0.25
  return process


def cdcd() -> ConfigDict:
  """CDCD (Dieleman et al. 2022): cross-entropy under time warping."""
  process = gaussian()
  process.update(
    width=256,
    norm="root",
    objective="cross_entropy",
    output_prior=False,
    self_conditioning=0.5,
    # Noise from 2 to 300 on embeddings of size sqrt(256), in their own numbers: 2 log 2, 2 log 300.
    schedule={"name": "warped", "gamma_min": 1.386, "gamma_max": 11.408, "entropy": 3.3},
  )
  return process


def diffusion_lm() -> ConfigDict:
  """Diffusion-LM (Li et al. 2022): the clean embedding is predicted, by its squared error."""
  process = gaussian()
  process.update(norm="root", parameterization="x", objective="mse", schedule={"name": "sqrt"})
  return process


def langflow() -> ConfigDict:
  """LangFlow (2026): cross-entropy under a Gumbel schedule, uniform in information.

  The authors' training code is not released. From the paper: rows of size sqrt(W), the schedule,
  its fit and cutoff, the output prior, self-conditioning at 0.25 with a projection that starts at
  zero. Inferred: the schedule's own learning rate and optimizer, and that its first entropy is
  log V.
  """
  process = gaussian()
  process.update(
    width=768,
    norm="root",
    objective="cross_entropy",
    self_conditioning=0.25,
    schedule={"name": "gumbel", "location": 4.723, "scale": 0.852, "entropy": 10.8},
  )
  return process


def langflow_of_characters(width: int) -> ConfigDict:
  """LangFlow for 27 symbols: its first schedule lies where embeddings of `width` are told apart.

  |e|^2 = W against noise of e^gamma: that place moves with log W. The first entropy is log 27.
  """
  process = langflow()
  process.width = width
  process.schedule.update(location=math.log(width) - 0.9, entropy=3.3)
  return process
