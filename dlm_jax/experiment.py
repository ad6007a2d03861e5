"""What a config describes, built: data, process, network and mesh, ready to train or to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import ml_collections
import optax

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.data import preparation
from dlm_jax.data.store import Store
from dlm_jax.distributed.mesh import batch_shards, make_mesh
from dlm_jax.model import from_config, parameters
from dlm_jax.model.denoiser import Denoiser, with_cache
from dlm_jax.model.head import Head
from dlm_jax.model.model import load, training_data
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Process
from dlm_jax.processes.facets import Continuous
from dlm_jax.processes.parts.times import Times
from dlm_jax.runs import workdir
from dlm_jax.training import distillation, optimizer, state
from dlm_jax.training.config import CheckpointConfig, EvaluationConfig, TrainingConfig
from dlm_jax.training.distillation import DistillationConfig
from dlm_jax.training.objective import Objective
from dlm_jax.training.optimizer import OptimizerConfig
from dlm_jax.training.step import Step, compile_step, make_step

# Parameters are drawn as if at a step that no run reaches.
INIT_STEP = 2**32 - 1


SECTIONS = (
  "seed",
  "data",
  "process",
  "times",
  "network",
  "optimizer",
  "training",
  "distillation",
  "evaluation",
  "checkpoint",
  "mesh",
  "wandb_project",
  "replaced",
)


@dataclass(frozen=True)
class Experiment:
  """A config and what it describes. Building it compiles nothing and draws nothing.

  The store is None where it was built for a vocabulary alone.
  """

  config: ml_collections.ConfigDict
  store: Store | None
  process: Process
  evaluation_process: Process
  network: Network
  times: Times
  training: TrainingConfig
  distillation: DistillationConfig
  evaluation: EvaluationConfig
  checkpoint: CheckpointConfig
  optimizer: optax.GradientTransformation
  learning_rate: optax.Schedule
  mesh: jax.sharding.Mesh

  @property
  def length(self) -> int:
    return self.config.data.length

  @property
  def head(self) -> Head:
    capacity, chunks = self.training.head_capacity, self.training.head_chunks
    return Head(chunks=chunks, capacity=capacity, groups=batch_shards(self.mesh))

  def denoiser(self, params: Any, labels: jax.Array | None = None) -> Denoiser:
    """The network with `params` and `labels` bound, without dropout and with the whole head."""
    return with_cache(
      Denoiser(
        self.network,
        params,
        Head(chunks=self.training.head_chunks),
        pattern=self.process.pattern,
        labels=labels,
      )
    )

  def check_unlabelled(self, wish: str) -> None:
    """Raises `UserError`, naming the `wish`, where the model cannot do without labels."""
    if not self.store.num_labels:
      raise UserError(f"{wish} needs a model of labelled text, but this text has no labels.")
    if not self.network.label_dropout:
      raise UserError(
        f"{wish} needs a model that has learned to do without labels, but network.label_dropout "
        "was 0: train one with 0.1."
      )

  @property
  def objective(self) -> Objective:
    """What training minimises: the loss of the process, or the divergence from a teacher."""
    plain = Objective(process=self.process, network=self.network, head=self.head)
    return distillation.of(plain, self.distillation)

  def compile_step(self) -> Step:
    """The training step under `jax.jit`, `(state, batch) -> (state, metrics)`."""
    step = make_step(
      self.objective,
      self.optimizer,
      self.times,
      seed=self.config.seed,
      accumulate=self.training.accumulate,
      ema_decay=self.training.ema_decay,
    )
    return compile_step(step, self.abstract_state, self.mesh)

  def init_state(self) -> state.TrainState:
    """The train state before the first step, laid over the mesh; call under `jax.jit`."""
    key = jax.random.fold_in(jax.random.key(self.config.seed), INIT_STEP)
    rows = batch_shards(self.mesh)
    return self.state_of(
      parameters.init_params(self.process, self.network, key, rows=rows, length=self.length)
    )

  def state_of(self, params: Any) -> state.TrainState:
    """The train state before the first step, from these parameters."""
    return state.init(params, self.optimizer, is_teacher=bool(self.distillation.teacher))

  @cached_property
  def abstract_state(self) -> state.TrainState:
    """Shapes, dtypes and shardings of the train state."""
    rules = (*parameters.sharding_rules(self.network), *optimizer.SHARDING_RULES)
    return parameters.with_layout(jax.eval_shape(self.init_state), rules, self.mesh)


def build(
  config: ml_collections.ConfigDict,
  *,
  devices: Sequence[jax.Device] | None = None,
  vocab_size: int | None = None,
) -> Experiment:
  """Builds what `config` describes; prepares the data unless it is there.

  Args:
    config: as its file in configs/ returns it.
    devices: other devices than those here, to compile for them ahead of time.
    vocab_size: build it for a vocabulary of this size, and touch no data.

  Raises:
    UserError: anything in the config is unknown, missing or does not fit the rest.
  """
  for name in config:
    if name not in SECTIONS:
      raise UserError(
        f"the config has an unknown section {name!r}: {nearest(name, SECTIONS)}"
        f"The sections are {', '.join(SECTIONS)}."
      )
  training = resolve.build(TrainingConfig, config.training)
  optimizer_config = resolve.build(OptimizerConfig, config.optimizer)
  times = resolve.build(Times, config.times)
  evaluation = resolve.build(EvaluationConfig, config.evaluation)
  distilled = resolve.build(DistillationConfig, config.get("distillation") or {})
  checkpoints = resolve.build(CheckpointConfig, config.checkpoint)
  mesh = make_mesh(config.mesh, devices)
  store, num_labels = None, 0
  if vocab_size is None:
    # Mistakes are named before data is prepared.
    store = preparation.prepare_together(config.data, before=partial(from_config.check, config))
    vocab_size, num_labels = store.tokenizer.vocab_size, store.num_labels
  built = from_config.build(config, vocab_size, num_labels)
  distillation.check(distilled, built.process)
  learned = jax.eval_shape(lambda: built.process.init(jax.random.key(0)))
  return Experiment(
    config=config,
    store=store,
    process=built.process,
    evaluation_process=built.evaluation_process,
    network=built.network,
    times=times,
    training=training,
    distillation=distilled,
    evaluation=evaluation,
    checkpoint=checkpoints,
    optimizer=optimizer.make(
      optimizer_config,
      training.steps,
      built.network.matrix_axes,
      learned_schedule="schedule" in learned,
    ),
    learning_rate=optimizer.learning_rate(
      optimizer_config, optimizer_config.learning_rate, training.steps
    ),
    mesh=mesh,
  )


def check_batches(experiment: Experiment) -> None:
  """Raises `UserError` unless batches fit the mesh, and the head's economies length and process."""
  training, shards = experiment.training, batch_shards(experiment.mesh)
  sizes = {
    "training.batch_size / training.accumulate": training.batch_size // training.accumulate,
    "evaluation.batch_size": experiment.evaluation.batch_size,
  }
  for name, rows in sizes.items():
    if rows % shards:
      raise UserError(
        f"{name} is {rows}, which the {shards} batch shards of the mesh do not divide."
      )
  if experiment.length % training.head_chunks:
    raise UserError(
      f"training.head_chunks {training.head_chunks} does not divide data.length "
      f"{experiment.length}."
    )
  asked = {"head_chunks": (training.head_chunks, 1), "head_capacity": (training.head_capacity, 0)}
  for name, (value, none) in asked.items():
    if isinstance(experiment.process, Continuous) and value != none:
      raise UserError(
        f"training.{name} is {value}, but a continuous process needs all logits at once: set it to "
        f"{none}."
      )


@dataclass(frozen=True)
class Restored:
  """A trained model with its experiment; on its way out: use `model.model.load`."""

  experiment: Experiment
  params: Any
  step: int
  metadata: dict[str, Any]
  provenance: Any = None


def restore(path: str, *, step: int | None = None, weights: str = "ema") -> Restored:
  """See `model.model.load`; the data must be here as well."""
  model = load(path, step, weights)
  config = workdir.read_config(path)
  config.mesh = {"data": -1}
  training_data(model)
  provenance = model.provenance
  metadata = {
    "git_revision": provenance.git_revision,
    "dataset_hash": provenance.dataset_hash,
  }
  return Restored(build(config), model.params, provenance.step, metadata, provenance)
