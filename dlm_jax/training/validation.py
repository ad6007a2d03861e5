"""The validation bound during training."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.types import Params
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.evaluation import likelihood
from dlm_jax.evaluation.clusters import of_rows
from dlm_jax.experiment import Experiment
from dlm_jax.model.denoiser import bound
from dlm_jax.training.loop import Validate


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
