"""A training run: its workdir, its first state, its loop, its record."""

from contextlib import suppress

import jax
import ml_collections

from dlm_jax.core import resolve, storage
from dlm_jax.core.dotted import dotted
from dlm_jax.core.exit_codes import RESUMABLE
from dlm_jax.core.faults import SystemFault, writing
from dlm_jax.data.batches import Batches
from dlm_jax.distributed import cluster
from dlm_jax.distributed.sharding import local_rows
from dlm_jax.experiment import Experiment, build
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.runs.metrics import MetricsLog, read_rows
from dlm_jax.runs.provenance import git_revision
from dlm_jax.runs.workdir import Workdir, open_workdir, plain, require_resumable
from dlm_jax.training import checks, loop, profiling
from dlm_jax.training.distillation import teacher_evaluations
from dlm_jax.training.failures import advised
from dlm_jax.training.loop import Loop
from dlm_jax.training.monitor import Monitor
from dlm_jax.training.optimizer import OptimizerConfig
from dlm_jax.training.preemption import interruptible
from dlm_jax.training.profiling import Profiler
from dlm_jax.training.progress_line import ProgressLine
from dlm_jax.training.saving import Saver
from dlm_jax.training.start import first_state
from dlm_jax.training.state import TrainState
from dlm_jax.training.throughput import Meter, peak_flops, training_flops_per_token
from dlm_jax.training.training_settings import TrainSettings
from dlm_jax.training.validation import clip_search, require_validation, validation


def main(settings: TrainSettings) -> int:
  """The command `train`."""
  return train(settings.config, settings.workdir, settings.profile)


def train(config: ml_collections.ConfigDict, directory: str, profile: str = "") -> int:
  """Runs the experiment `config` in `directory` and returns the exit code.

  It is `RESUMABLE` where SIGTERM or Ctrl-C ended the run, at whatever moment.

  Args:
    config: as its file in configs/ returns it.
    directory: of the run.
    profile: steps to trace, as `10:15`; none if empty.

  Raises:
    UserError: the config is wrong, or the directory belongs to another run.
  """
  profiler = profiling.parse(profile, storage.local(directory) / "profile")
  try:
    with interruptible():
      complete = _train(config, directory, profiler)
    stopped = "stopped and saved"
  except KeyboardInterrupt as stop:
    complete, stopped = False, f"stopped{f': {stop}' if str(stop) else ''}"
  if not complete:
    cluster.say(f"{stopped}; start the same command again to resume (exit code {RESUMABLE})")
  return 0 if complete else RESUMABLE


def _train(config: ml_collections.ConfigDict, directory: str, profiler: Profiler) -> bool:
  """Prepares what a run needs and trains; returns whether the run is complete."""
  _require_same_launch(config)
  checks.check_machine(directory, config.get("wandb_project") or "")
  named = {"training": "weights", "distillation": "teacher"}
  checks.check_origins(directory, ((config.get(s) or {}).get(n) for s, n in named.items()))
  require_resumable(directory, config)
  experiment = build(config)
  require_validation(experiment)
  store, checkpoint = experiment.store, experiment.checkpoint
  cluster.require_same({"the dataset hash": store.hash}, "comparing the data")
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
    state = first_state(experiment, checkpointer)
    return _run(experiment, workdir, state, checkpointer, profiler)


def _require_same_launch(config: ml_collections.ConfigDict) -> None:
  """Raises `UserError` on all processes unless they were started for the same run."""
  facts: dict[str, object] = {
    f"config.{name}": value for name, value in dotted(plain(config)).items()
  }
  facts |= {"the git revision": git_revision(), "the version of JAX": jax.__version__}
  facts["the number of devices"] = jax.local_device_count()
  facts["the kind of device"] = jax.local_devices()[0].device_kind
  cluster.require_same(facts, "comparing the processes")


def _run(
  experiment: Experiment,
  workdir: Workdir,
  state: TrainState,
  checkpointer: Checkpointer,
  profiler: Profiler,
) -> bool:
  """Trains to the end, unless the run is stopped or is complete already; whether it is complete."""
  config, training, start = experiment.config.to_dict(), experiment.training, int(state.step)
  if start >= training.steps:
    cluster.say(f"nothing to do: {workdir.path} is complete at step {start}")
    return True
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  cluster.say(f"{parameters:,} parameters, training to step {training.steps} in {workdir.path}")
  metadata = {
    "config": config,
    "git_revision": git_revision(),
    "dataset_hash": experiment.store.hash,
  }
  monitor = Monitor(
    config=training,
    learning_rate=experiment.learning_rate,
    meter=_meter(experiment),
    log=MetricsLog(workdir.path, start, config, config.get("wandb_project", "")),
    line=ProgressLine(start, training.steps),
  )
  parts = Loop(
    step=experiment.compile_step(),
    batches=_batches(experiment).iterate(start),
    validate=validation(experiment),
    monitor=monitor,
    saver=Saver(checkpointer=checkpointer, workdir=workdir, metadata=metadata),
    profiler=profiler,
    mesh=experiment.mesh,
    config=training,
    search_clip=clip_search(experiment),
  )
  with advised(
    workdir.mirror.path, checkpointer, resolve.build(OptimizerConfig, config["optimizer"])
  ):
    try:
      complete = loop.train(parts, state)
    except BaseException:
      with suppress(SystemFault):  # what went wrong first is what is told
        _finish(monitor, workdir)
      raise
    _finish(monitor, workdir)
  return complete


def _finish(monitor: Monitor, workdir: Workdir) -> None:
  """Completes the record of the run. Raises `SystemFault` where it cannot be written."""
  # Matplotlib, which the first step need not wait for.
  from dlm_jax.reporting import plots  # noqa: PLC0415

  monitor.line.close()
  monitor.log.close()
  path = workdir.path / "loss_curve.png"
  if jax.process_index() == 0:
    with writing(path):
      plots.loss_curve(read_rows(workdir.path), path)
  workdir.publish()


def _batches(experiment: Experiment) -> Batches:
  return Batches(
    experiment.store.rows("train").first(experiment.config.data.get("share") or 1.0),
    experiment.training.batch_size,
    experiment.config.seed,
    local_rows(experiment.mesh, experiment.training.batch_size),
    experiment.config.data.get("windows") or "disjoint",
  )


def _meter(experiment: Experiment) -> Meter:
  length = experiment.length
  return Meter(
    tokens_per_step=experiment.training.batch_size * length,
    flops_per_token=training_flops_per_token(
      experiment.network,
      experiment.process.pattern,
      length,
      scored=experiment.process.scored_share,
      teachers=teacher_evaluations(experiment.distillation, experiment.process),
    ),
    devices=jax.device_count(),
    peak=peak_flops(),
  )
