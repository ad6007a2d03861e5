"""What is found out at each validation: the bound, and the times that are worth training on."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.types import Params
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.evaluation import block_times, likelihood
from dlm_jax.evaluation.clusters import of_rows
from dlm_jax.experiment import Experiment
from dlm_jax.model.denoiser import bound
from dlm_jax.processes.block import Block
from dlm_jax.training.loop import SearchClip, Validate
from dlm_jax.training.state import TrainState


def require_validation(experiment: Experiment) -> None:
  """Raises what `validation` would, from the shapes of a batch: nothing is compiled or computed."""
  rows = batch_shards(experiment.mesh)
  batch = experiment.store.rows("validation")[np.arange(rows) % 2]

  def nelbo(params: Params, key: Array, batch: dict[str, Array]) -> Array:
    process, denoise = bound(
      experiment.evaluation_process, experiment.denoiser(params, batch.get("label"))
    )
    keys, t = jax.random.split(key, rows), jnp.ones(rows)
    return process.nelbo(keys, denoise, batch["tokens"], t, batch.get("given"))

  with jax.set_mesh(experiment.mesh):
    jax.eval_shape(nelbo, experiment.abstract_state.params, jax.random.key(0), batch)


def validation(experiment: Experiment) -> Validate:
  """The validation bound of parameters as metrics, always on the same rows, times and noise."""
  store, evaluation = experiment.store, experiment.evaluation
  split = store.rows("validation")
  rows = split[evenly_spread(len(split), evaluation.rows)]
  clusters = of_rows(len(rows["tokens"]), are_documents=split.are_documents).index
  scoring = likelihood.Scoring(
    batch_size=evaluation.batch_size,
    samples=evaluation.samples,
    seed=experiment.config.seed,
    mesh=experiment.mesh,
  )
  evaluate = likelihood.evaluator(experiment.evaluation_process, experiment.denoiser, scoring)
  per_token = store.characters_per_token("validation")

  def validate(params: Params) -> dict[str, float]:
    masks = (rows.get("given"), rows.get("label"), clusters, rows.get("unscored"))
    bound = evaluate(params, rows["tokens"], *masks)
    return {
      "validation_bound": bound.nats_per_token,
      "validation_standard_error": bound.standard_error,
      "validation_bits_per_character": bound.bits_per_character(per_token).value,
    }

  return validate


def clip_search(experiment: Experiment) -> SearchClip | None:
  """The search for the interval of times that block diffusion trains on; None where it is fixed.

  Rows, times and noise are a function of (seed, step): a run that resumes finds what one that was
  never stopped does.
  """
  process, training, seed = experiment.process, experiment.training, experiment.config.seed
  if not training.clip_batches:
    return None
  assert isinstance(process, Block)
  rows = experiment.store.rows("validation")
  of_batch = block_times.losses(process, experiment.denoiser, experiment.times)

  def search(state: TrainState) -> np.ndarray | None:
    step = int(state.step)
    batches = block_times.RandomBatches(rows, training.batch_size, (seed, step), experiment.mesh)
    key = jax.random.fold_in(jax.random.key(seed), step)
    numbers = range(training.clip_batches)
    return block_times.best(
      block_times.losses_of_batches(of_batch, state.ema, batches, key, numbers)
    )

  return search
