"""The validation bound during training."""

from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.types import Params
from dlm_jax.evaluation import likelihood
from dlm_jax.experiment import Experiment
from dlm_jax.training.loop import Validate


def validation(experiment: Experiment) -> Validate:
  """The validation bound of parameters as metrics, always on the same rows, times and noise."""
  store, evaluation = experiment.store, experiment.evaluation
  rows = store.rows("validation")[evenly_spread(store.num_rows("validation"), evaluation.rows)]
  scoring = likelihood.Scoring(
    batch_size=evaluation.batch_size,
    samples=evaluation.samples,
    seed=experiment.config.seed,
    mesh=experiment.mesh,
  )
  evaluate = likelihood.evaluator(experiment.evaluation_process, experiment.denoiser, scoring)
  per_token = store.characters_per_token("validation")

  def validate(params: Params) -> dict[str, float]:
    bound = evaluate(params, rows["tokens"], rows.get("given"), rows.get("label"))
    return {
      "validation_bound": bound.nats_per_token,
      "validation_standard_error": bound.standard_error,
      "validation_bits_per_character": bound.bits_per_character(per_token).value,
    }

  return validate
