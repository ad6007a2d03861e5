"""The compiled programs that train and measure one process under any of its schedules."""

import dataclasses
import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from configs import compose, recipes, stdlib_docs
from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.types import Params
from dlm_jax.data.batches import Batches
from dlm_jax.evaluation import judges, likelihood, text_statistics
from dlm_jax.experiment import Experiment
from dlm_jax.model.denoiser import bound
from dlm_jax.model.model import Model
from dlm_jax.processes import base, draws
from dlm_jax.processes.facets import Continuous
from dlm_jax.runs import provenance
from dlm_jax.runs.provenance import Provenance
from dlm_jax.samplers import ancestral, loops
from dlm_jax.samplers.base import Request
from dlm_jax.training.step import make_step
from experiments.noise_schedules.schedules import (
  REFERENCE,
  AnySchedule,
  AnyShape,
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """The size of the sweep.

  Attributes:
    steps: of training.
    seeds: so many runs of each kind.
    width, depth, length: of the network and its rows.
    rows, draws: sequences a bound is estimated on, and times each.
    batches: that the variance of the gradient is taken over.
    drawn: samples of each run.
  """

  steps: int = 200
  seeds: int = 2
  width: int = 64
  depth: int = 2
  length: int = 32
  rows: int = 1024
  draws: int = 8
  batches: int = 32
  drawn: int = 64


def config(settings: Settings, process: str) -> ConfigDict:
  """The quickstart, smaller, with nothing that hides the schedule.

  The loss is the bound itself and tokens are noised one by one. The network is not told the time
  (under Gaussian noise it is told gamma): then the bound of given weights depends on the schedule
  through its ends alone, for every process.
  """
  made = stdlib_docs.get_config("autoregressive" if process == "autoregressive" else "absorbing")
  if process == "gaussian":
    compose.assign(made, recipes.continuous("the process alone"))
  elif process != "autoregressive":
    made.process = {"name": process, "schedule": {"name": REFERENCE}}
  made.data.length = settings.length
  made.network.update(width=settings.width, depth=settings.depth)
  made.training.steps = settings.steps
  return made.lock()


@dataclasses.dataclass(frozen=True)
class Lab:
  """The compiled programs of one process; `index` is that of the schedule in its `names`."""

  settings: Settings
  experiment: Experiment

  def scheduled(self, index: Any) -> base.Process:
    process = self.experiment.process
    schedule = AnyShape(index) if isinstance(process, Continuous) else AnySchedule(index)
    return dataclasses.replace(process, schedule=schedule)

  @functools.cached_property
  def step(self) -> Any:
    """`(index, seed, state, batch) -> state`."""
    experiment = self.experiment

    def step(index: Array, seed: Array, state: Any, batch: Any) -> Any:
      one = make_step(
        dataclasses.replace(experiment.objective, process=self.scheduled(index)),
        experiment.optimizer,
        experiment.times,
        seed=seed,
        ema_decay=experiment.training.ema_decay,
      )
      return one(state, batch)[0]

    return jax.jit(step, donate_argnums=2)

  def init(self, seed: int) -> Any:
    """The first state: runs of a seed start from the same weights, whatever the schedule."""
    config = self.experiment.config.copy_and_resolve_references()
    config.seed = seed
    return jax.jit(dataclasses.replace(self.experiment, config=config).init_state)()

  def train(self, index: int, seed: int) -> Any:
    """The averaged weights at the end."""
    experiment = self.experiment
    rows = experiment.store.rows("train")
    batches = Batches(rows, experiment.training.batch_size, seed).iterate()
    state = self.init(seed)
    for _ in range(self.settings.steps):
      state = self.step(index, seed, state, next(batches))
    return state.ema

  @functools.cached_property
  def draw(self) -> likelihood.Draw:
    """A drawer whose parameters are (index, weights)."""
    lab = self

    class Scheduled:
      def nelbo(self, key: Array, denoise: Any, *rest: Any) -> Array:
        process, network = bound(lab.scheduled(denoise.index), denoise.network)
        return process.nelbo(key, network, *rest)

      def constants(self) -> float:
        return lab.experiment.process.constants()

    return likelihood.drawer(
      Scheduled(),
      lambda pair: SimpleNamespace(index=pair[0], network=lab.experiment.denoiser(pair[1])),
      likelihood.Scoring(batch_size=128, samples=self.settings.draws),
    )

  def bound(self, index: int, weights: Any, prefix: str) -> dict[str, Any]:
    """The bound on test rows, and how its integrand varies: over t, and from draw to draw."""
    rows = self.experiment.store.rows("test")
    chosen = evenly_spread(len(rows), self.settings.rows)
    draws = self.draw((index, weights), rows[chosen]["tokens"])
    by_time = [row["nats_per_token"] for row in draws.by_time()]
    residual = draws.nats / draws.scored
    noise = residual.var(axis=0, ddof=1).mean() / residual.size
    return {
      f"{prefix}_bound": draws.bound.nats_per_token,
      f"{prefix}_standard_error": draws.bound.standard_error,
      f"{prefix}_error_of_draws": float(np.sqrt(noise)),
      f"{prefix}_loss_over_time": by_time,
      f"{prefix}_variance_over_time": float(np.var(by_time)),
      f"{prefix}_variance_of_a_draw": float(residual.var()),
    }

  @functools.cached_property
  def gradient_of_batch(self) -> Any:
    """`(index, weights, key, tokens) -> leaves` of the gradient of the training loss."""
    experiment = self.experiment

    @jax.jit
    def gradient(index: Array, weights: Any, key: Array, tokens: Array) -> list[Array]:
      process = self.scheduled(index)
      time_key, noise_key = jax.random.split(key)
      t, weight = experiment.times.draw(time_key, len(tokens), process)
      noise = draws.row_keys(noise_key, len(tokens))

      def loss(weights: Any) -> Array:
        learned, denoise = bound(process, experiment.denoiser(weights))
        return jnp.mean(weight[:, None] * learned.loss(noise, denoise, tokens, t))

      return jax.tree.leaves(jax.grad(loss)(weights))

    return gradient

  def gradient(self, index: int, weights: Any) -> dict[str, float]:
    """The variance of the gradient of a batch (the trace of its covariance), and its mean squared.

    All schedules see the same batches, quantiles of time and noise.
    """
    experiment, count = self.experiment, self.settings.batches
    batches = Batches(experiment.store.rows("train"), experiment.training.batch_size, seed=1 << 20)
    mean, squares = 0.0, 0.0
    for number in range(count):
      key = jax.random.fold_in(jax.random.key(1), number)
      leaves = self.gradient_of_batch(index, weights, key, batches(number)["tokens"])
      flat = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])
      mean, squares = mean + flat / count, squares + np.sum(flat**2) / count
    squared_mean = float(np.sum(mean**2))
    variance = float(squares - squared_mean) * count / (count - 1)
    return {"gradient_variance": variance, "gradient_mean_squared": squared_mean}

  @functools.cached_property
  def sample(self) -> Any:
    """`(index, weights, keys [B]) -> SampleResult`, of as many steps as tokens."""
    experiment, length = self.experiment, self.experiment.length

    def sample(index: Array, weights: Any, keys: Array) -> Any:
      process, denoise = bound(self.scheduled(index), experiment.denoiser(weights))
      request = Request(keys=keys, length=length, steps=length)
      return loops.sample(ancestral.make(), process, denoise, request)

    return jax.jit(sample)

  def quality(self, index: int, weights: Any, judge: judges.Judge) -> dict[str, float]:
    """Samples under the judge, and their entropy."""
    keys = jax.random.split(jax.random.key(2), self.settings.drawn)
    tokens = np.asarray(self.sample(index, weights, keys).tokens)
    decode = self.experiment.store.tokenizer.decode
    perplexity = text_statistics.generative_perplexity(*judge([decode(row) for row in tokens]))
    found = perplexity["over_tokens"]
    return {
      "judge_perplexity": found.value,
      "judge_perplexity_low": found.low,
      "judge_perplexity_high": found.high,
      "entropy": text_statistics.entropy(list(tokens)).value,
    }


def model_of(lab: Lab, weights: Params) -> Model:
  """What was trained, as a model."""
  experiment = lab.experiment
  return Model(
    process=experiment.process,
    evaluation_process=experiment.evaluation_process,
    network=experiment.network,
    params=weights,
    tokenizer=experiment.store.tokenizer,
    length=experiment.length,
    packing=experiment.store.manifest["packing"],
    num_labels=experiment.store.num_labels,
    mesh=experiment.mesh,
    provenance=provenance_of(lab),
  )


def provenance_of(lab: Lab) -> Provenance:
  """Where its weights come from: they are trained here, in no workdir."""
  store = lab.experiment.store
  return Provenance(
    workdir="",
    step=lab.settings.steps,
    weights="ema",
    dtype=str(lab.experiment.network.compute_dtype),
    git_revision=provenance.git_revision(),
    dataset_hash=store.hash,
    characters_per_token={name: store.characters_per_token(name) for name in store.splits},
    config=lab.experiment.config.to_dict(),
  )
