"""What a config describes, built: data, process, network and mesh, ready to train or to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import jax
import ml_collections
import optax
from jax.stages import Wrapped

from dlm_jax.core import resolve
from dlm_jax.core.errors import require_known
from dlm_jax.core.types import Params
from dlm_jax.data import preparation
from dlm_jax.data.corpora.base import Corpus, Labelled
from dlm_jax.data.preparation import DataConfig
from dlm_jax.data.store import Store
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed.mesh import batch_shards, make_mesh
from dlm_jax.model import from_config, parameters
from dlm_jax.model.denoiser import Denoiser, with_cache
from dlm_jax.model.from_config import ProcessAndNetwork
from dlm_jax.model.head import Head
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Process
from dlm_jax.processes.block import Block
from dlm_jax.processes.parts.times import Times
from dlm_jax.training import checks, distillation, optimizer, state
from dlm_jax.training.config import CheckpointConfig, EvaluationConfig, TrainingConfig
from dlm_jax.training.distillation import DistillationConfig
from dlm_jax.training.objective import Objective
from dlm_jax.training.optimizer import OptimizerConfig
from dlm_jax.training.step import compile_step, make_step

T = TypeVar("T")

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
class _Sections:
  """The sections that are the fields of one dataclass."""

  training: TrainingConfig
  optimizer: OptimizerConfig
  times: Times
  distillation: DistillationConfig
  evaluation: EvaluationConfig
  checkpoint: CheckpointConfig

  @classmethod
  def of(cls, config: ml_collections.ConfigDict) -> "_Sections":
    """Raises `UserError` for what is wrong in one of them."""

    def section(name: str, kind: type[T]) -> T:
      return resolve.build(kind, config.get(name) or {})

    return cls(
      training=section("training", TrainingConfig),
      optimizer=section("optimizer", OptimizerConfig),
      times=section("times", Times),
      distillation=section("distillation", DistillationConfig),
      evaluation=section("evaluation", EvaluationConfig),
      checkpoint=section("checkpoint", CheckpointConfig),
    )


@dataclass(frozen=True)
class Experiment:
  """What a config describes, for training. Building it compiles nothing and draws nothing.

  Attributes:
    config: the whole config.
    store: the prepared data; None where the experiment was built for a vocabulary alone.
    process: the noise process that is trained.
    evaluation_process: the process under which validation bounds are estimated.
    network: of the form that the process needs.
    head: how the head of the network is applied in training.
    times: how the times of a batch are drawn.
    training, distillation, evaluation, checkpoint: the sections of the config.
    optimizer: the gradient transformation.
    learning_rate: by step, the peak that most parameters have.
    mesh: the devices.
  """

  config: ml_collections.ConfigDict
  store: Store | None
  process: Process
  evaluation_process: Process
  network: Network
  head: Head
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

  def denoiser(self, params: Params, labels: jax.Array | None = None) -> Denoiser:
    """The network with `params` and `labels` bound, without dropout."""
    return with_cache(
      Denoiser(
        self.network,
        params,
        self.head,
        pattern=self.process.pattern,
        labels=labels,
      )
    )

  @property
  def objective(self) -> Objective:
    """What training minimises: the loss of the process, or the divergence from a teacher."""
    plain = Objective(process=self.process, network=self.network, head=self.head)
    return distillation.of(plain, self.distillation)

  def compile_step(self) -> Wrapped:
    """The training step under `jax.jit`, `(state, batch) -> (state, metrics)`."""
    step = make_step(
      self.objective,
      self.optimizer,
      self.times,
      seed=self.config.seed,
      accumulate=self.training.accumulate,
      ema_decay=self.training.ema_decay,
      ema_warmup=self.training.ema_warmup,
    )
    return compile_step(step, self.abstract_state, self.mesh)

  def init_state(self) -> state.TrainState:
    """The train state before the first step, laid over the mesh; call under `jax.jit`."""
    key = jax.random.fold_in(jax.random.key(self.config.seed), INIT_STEP)
    rows = batch_shards(self.mesh)
    return self.state_of(
      parameters.init_params(self.process, self.network, key, rows=rows, length=self.length)
    )

  def state_of(self, params: Params) -> state.TrainState:
    """The train state before the first step, from these parameters."""
    is_teacher, clip = bool(self.distillation.teacher), None
    if self.training.clip_batches:
      assert isinstance(self.process, Block)  # `checks.check_process` has refused any other
      clip = self.process.clip
    return state.init(params, self.optimizer, is_teacher=is_teacher, clip=clip)

  @cached_property
  def abstract_state(self) -> state.TrainState:
    """Shapes, dtypes and shardings of the train state."""
    rules = (
      *parameters.sharding_rules(self.network),
      *optimizer.SHARDING_RULES,
      *state.SHARDING_RULES,
    )
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
    require_known("section of a config", name, SECTIONS)
  sections = _Sections.of(config)
  mesh = make_mesh(config.mesh, devices)
  checks.check_batches(
    sections.training,
    sections.evaluation,
    mesh,
    resolve.build(DataConfig, config.data).length,
  )
  store = None
  if vocab_size is None:
    store = preparation.prepare_together(config.data, partial(_check_data, config, sections))
    checks.check_rows(store)
    built = _parts(config, sections, store.tokenizer.vocab_size, store.num_labels)
    checks.check_mask(built.process, store.tokenizer)
  else:
    built = _parts(config, sections, vocab_size)
  rates, steps = sections.optimizer, sections.training.steps
  learned = jax.eval_shape(lambda: built.process.init(jax.random.key(0)))
  return Experiment(
    config=config,
    store=store,
    process=built.process,
    evaluation_process=built.evaluation_process,
    network=built.network,
    head=Head.of(built.process, mesh, sections.training.head_chunks),
    optimizer=optimizer.make(
      rates, steps, built.network.matrix_axes, learned_schedule="schedule" in learned
    ),
    learning_rate=optimizer.learning_rate(rates, rates.learning_rate, steps),
    mesh=mesh,
    times=sections.times,
    training=sections.training,
    distillation=sections.distillation,
    evaluation=sections.evaluation,
    checkpoint=sections.checkpoint,
  )


def _parts(
  config: ml_collections.ConfigDict,
  sections: _Sections,
  vocab_size: int,
  num_labels: int = 0,
) -> ProcessAndNetwork:
  """The process and the network, held against the other sections."""
  built = from_config.build(config, vocab_size, num_labels)
  sections.times.check(built.process)
  distillation.check(sections.distillation, built.process)
  checks.check_process(built.process, sections.training, config.data.length)
  return built


def _check_data(
  config: ml_collections.ConfigDict,
  sections: _Sections,
  corpus: Corpus,
  tokenizer: Tokenizer | None,
) -> None:
  """Names mistakes before data is prepared, which may take hours; see `preparation.Check`."""
  vocab_size = from_config.ANY_VOCABULARY if tokenizer is None else tokenizer.vocab_size
  num_labels = corpus.num_labels if isinstance(corpus, Labelled) else 0
  built = _parts(config, sections, vocab_size, num_labels)
  checks.check_splits(corpus.splits)
  if tokenizer is not None:
    checks.check_mask(built.process, tokenizer)
