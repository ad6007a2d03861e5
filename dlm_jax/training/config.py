"""The sections of a config that say how a run trains, validates and saves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import Fraction, NonNegativeInt, PositiveInt, Range
from dlm_jax.core.records import BOUNDS
from dlm_jax.data.corpora.base import SPLITS


@dataclass(frozen=True)
class TrainingConfig:
  """Fields of `config.training`.

  Attributes:
    steps: of the whole run.
    batch_size: rows of the global batch.
    accumulate: micro-batches a step.
    ema_decay: of the average of the parameters; 0 is the parameters themselves.
    ema_warmup: whether that decay is reached in the course of the first steps: min(decay,
      (1 + n) / (10 + n)) after n of them.
    log_every, evaluate_every: steps between rows of metrics, and between validation bounds.
    max_skipped: after so many steps in a row that were left out, since their loss, their gradient
      or the state that they lead to is not finite, the run ends.
    head_chunks: pieces of a batch for which logits exist one at a time; the default is 1 for a
      small vocabulary, and for a large one as many as keep logits small beside the rest.
    clip_batches: at each validation the interval of times that block diffusion trains on is
      searched again: that with the smallest variance of the loss, over so many batches of rows of
      the validation split. 0 keeps process.clip.
    weights: workdir of a run whose averaged weights this run starts from; empty is a random start.
  """

  steps: PositiveInt
  batch_size: PositiveInt
  accumulate: PositiveInt = 1
  ema_decay: Fraction = 0.9999
  ema_warmup: bool = True
  log_every: PositiveInt = 50
  evaluate_every: PositiveInt = 1000
  max_skipped: PositiveInt = 10
  head_chunks: PositiveInt | None = None
  clip_batches: NonNegativeInt = 0
  weights: str = ""

  def __post_init__(self) -> None:
    if self.clip_batches == 1:
      raise UserError(
        "training.clip_batches is 1, and a variance needs at least 2 batches: raise it, or set "
        "it to 0."
      )
    if self.batch_size % self.accumulate:
      raise UserError(
        f"training.batch_size {self.batch_size} is not a multiple of "
        f"training.accumulate {self.accumulate}: change one of them."
      )


@dataclass(frozen=True)
class CheckpointConfig:
  """Fields of `config.checkpoint`: see `runs.checkpointer.Checkpointer`."""

  save_every: PositiveInt = 1000
  keep_latest: PositiveInt = 2
  keep_every: PositiveInt | None = None


@dataclass(frozen=True)
class EvaluationConfig:
  """Fields of `config.evaluation`: the validation bound during training, and the protocol of the
  number that is reported: what `dlm_jax.evaluate` does unless it is told otherwise.

  Attributes:
    rows: at most so many rows of the validation split; a standard error needs two.
    samples: times a row.
    batch_size: rows at once.
    process: fields of the process that are set otherwise where a bound is estimated, in
      `evaluate` too: such as counted masking, where training follows a paper.
    split: that `evaluate` scores; None is test.
    bound: what it gives, variational or flow; None is variational.
    flow_steps: Heun steps of the probability flow; None is 64.
  """

  rows: Annotated[int, Range(at_least=2)] = 1024
  samples: PositiveInt = 1
  batch_size: PositiveInt = 64
  process: Mapping[str, object] = field(default_factory=dict)
  split: str | None = None
  bound: str | None = None
  flow_steps: PositiveInt | None = None

  def __post_init__(self) -> None:
    for name, known in (("split", SPLITS), ("bound", BOUNDS)):
      if vars(self)[name] is not None:
        require_known(f"evaluation.{name}", vars(self)[name], known)
