"""Trains a diffusion language model, or resumes it exactly where it stopped.

  python -m dlm_jax.train --config=configs/stdlib_docs.py --workdir=runs/quickstart

Fields of the config are overridden as `--config.training.steps=2000`, its argument is given as
`--config=configs/text8.py:mdlm,preset=tiny`. Started again with the same workdir, the run
resumes. It ends with exit code 0 when complete, 75 when SIGTERM or Ctrl-C stopped it after saving
(start it again to resume), 2 when the input was wrong.
"""

from collections.abc import Callable
from typing import Any

import jax
import ml_collections
from absl import flags

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.core import storage
from dlm_jax.core.dotted import dotted
from dlm_jax.core.spread import evenly_spread
from dlm_jax.data.batches import Batches
from dlm_jax.distributed import cluster
from dlm_jax.distributed.sharding import local_rows
from dlm_jax.evaluation import likelihood
from dlm_jax.experiment import Experiment
from dlm_jax.reporting import plots
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.runs.metrics import MetricsLog, read_rows
from dlm_jax.runs.provenance import git_revision
from dlm_jax.runs.workdir import Workdir, open_workdir, plain
from dlm_jax.training import loop, profiling
from dlm_jax.training.preemption import RESUMABLE
from dlm_jax.training.profiling import Profiler
from dlm_jax.training.progress_line import ProgressLine
from dlm_jax.training.state import TrainState
from dlm_jax.training.throughput import Meter, peak_flops


def train(config: ml_collections.ConfigDict, directory: str, profile: str = "") -> int:
  """Runs the experiment `config` in `directory` and returns the exit code.

  Args:
    config: as its file in configs/ returns it.
    directory: of the run.
    profile: steps to trace, as `10:15`; none if empty.

  Raises:
    UserError: the config is wrong, or the directory belongs to another run.
  """
  profiler = profiling.parse(profile, storage.local(directory) / "profile")
  _require_same_run(config)
  experiment = experiments.build(config)
  experiments.check_batches(experiment)
  store = experiment.store
  cluster.require_same({"the dataset hash": store.hash}, "comparing the data")
  checkpoint = experiment.checkpoint
  with (
    open_workdir(directory, config.to_dict(), dataset=store.description) as workdir,
    Checkpointer(
      workdir.checkpoints,
      save_every=checkpoint.save_every,
      keep_latest=checkpoint.keep_latest,
      keep_every=checkpoint.keep_every,
    ) as checkpointer,
    cluster.lost_peers_end_this(),
  ):
    state = _start(experiment, checkpointer)
    complete = _run(experiment, workdir, state, checkpointer, profiler)
  if not complete:
    cluster.say(
      f"stopped and saved; start the same command again to resume (exit code {RESUMABLE})"
    )
  return 0 if complete else RESUMABLE


def _require_same_run(config: ml_collections.ConfigDict) -> None:
  """Raises `UserError` on all processes unless they were started for the same run."""
  facts = {f"config.{name}": value for name, value in dotted(plain(config)).items()}
  facts |= {"the git revision": git_revision(), "the version of JAX": jax.__version__}
  facts["the number of devices"] = jax.local_device_count()
  facts["the kind of device"] = jax.local_devices()[0].device_kind
  cluster.require_same(facts, "comparing the processes")


def _start(experiment: Experiment, checkpointer: Checkpointer) -> TrainState:
  """The state to train from: the newest checkpoint, or step 0 where there has never been one."""
  abstract = experiment.abstract_state
  if checkpointer.latest_step() is not None:
    state, metadata = checkpointer.restore(abstract)
    cluster.say(f"resuming from step {metadata['step']}")
    return state
  layout = jax.tree.map(lambda leaf: leaf.sharding, abstract)
  with jax.set_mesh(experiment.mesh):
    if experiment.distillation.teacher:
      teacher = jax.device_put(experiments.restore_teacher(experiment), layout.params)
      first = jax.jit(experiment.state_of, out_shardings=layout)
      return cluster.compile_together(first, teacher)(teacher)
    return cluster.compile_together(jax.jit(experiment.init_state, out_shardings=layout))()


def _run(
  experiment: Experiment,
  workdir: Workdir,
  state: TrainState,
  checkpointer: Checkpointer,
  profiler: Profiler,
) -> bool:
  """Trains to the end, unless the run is stopped or has already been there."""
  config, training, start = experiment.config, experiment.training, int(state.step)
  if start >= training.steps:
    cluster.say(f"nothing to do: {workdir.path} is complete at step {start}")
    return True
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  cluster.say(f"{parameters:,} parameters, training to step {training.steps} in {workdir.path}")
  run = loop.Run(
    step=experiment.compile_step(),
    batches=_batches(experiment).iterate(start),
    validate=_validation(experiment),
    learning_rate=experiment.learning_rate,
    metadata={
      "config": config.to_dict(),
      "git_revision": git_revision(),
      "dataset_hash": experiment.store.hash,
    },
    publish=workdir.publish,
    meter=_meter(experiment),
    profiler=profiler,
    mesh=experiment.mesh,
    steps=training.steps,
    log_every=training.log_every,
    evaluate_every=training.evaluate_every,
    max_skipped=training.max_skipped,
  )
  log = MetricsLog(workdir.path, start, config.to_dict(), config.get("wandb_project", ""))
  line = ProgressLine(start, training.steps)
  try:
    return loop.train(run, state, checkpointer, log, line)
  finally:
    line.close()
    log.close()
    if jax.process_index() == 0:
      plots.loss_curve(read_rows(workdir.path), workdir.path / "loss_curve.png")
    workdir.publish()


def _batches(experiment: Experiment) -> Batches:
  return Batches(
    experiment.store.rows("train"),
    experiment.training.batch_size,
    experiment.config.seed,
    local_rows(experiment.mesh, experiment.training.batch_size),
  )


def _validation(experiment: Experiment) -> Callable[[Any], dict[str, float]]:
  """The validation bound of parameters as metrics, always on the same rows, times and noise."""
  store, evaluation = experiment.store, experiment.evaluation
  total = store.num_rows("validation")
  rows = store.rows("validation")[evenly_spread(total, evaluation.rows)]
  scoring = likelihood.Scoring(
    batch_size=evaluation.batch_size,
    samples=evaluation.samples,
    seed=experiment.config.seed,
    mesh=experiment.mesh,
  )
  evaluate = likelihood.evaluator(experiment.evaluation_process, experiment.denoiser, scoring)
  per_token = store.characters_per_token("validation")

  def validate(params: Any) -> dict[str, float]:
    bound = evaluate(params, rows["tokens"], rows.get("given"), rows.get("label"))
    return {
      "validation_bound": bound.nats_per_token,
      "validation_standard_error": bound.standard_error,
      "validation_bits_per_character": bound.bits_per_character(per_token).value,
    }

  return validate


def _meter(experiment: Experiment) -> Meter:
  """Three times the forward FLOPs: the backward pass takes two more for each product."""
  length, pattern = experiment.length, experiment.process.pattern
  return Meter(
    tokens_per_step=experiment.training.batch_size * length,
    flops_per_token=3 * experiment.network.flops_per_token(length, pattern),
    devices=jax.device_count(),
    peak=peak_flops(),
  )


def define_flags() -> None:
  command_line.define_config()
  command_line.define_cluster()
  flags.declare_key_flag("config")
  flags.DEFINE_string(
    "workdir",
    None,
    "Directory of the run: checkpoints, metrics, config. Resumed if it is there.",
    required=True,
  )
  flags.DEFINE_string(
    "profile", "", "Steps to trace into <workdir>/profile for xprof, first and last: 10:15."
  )


def main() -> int:
  return train(command_line.config(), flags.FLAGS.workdir, flags.FLAGS.profile)


if __name__ == "__main__":
  define_flags()
  command_line.run(main, stoppable=True)
