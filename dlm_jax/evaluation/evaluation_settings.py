"""The flags of the commands `evaluate`, `judge`, `harness` and `tune_block_times`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import NonNegative, NonNegativeInt, PositiveInt, Range, Seed
from dlm_jax.model.model_settings import ModelSettings

# How the times of an evaluation are chosen, see `likelihood.TIMINGS`.
Timing = Literal["stratified", "independent", "quadrature"]


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ModelSettings):
  """What is evaluated, and how.

  Attributes:
    metric: bound, on -log p of the split; or exact_match: the share of its prompts whose answer the
      model writes exactly, of a run of prompts and answers.
    split: split of its data: train, validation or test. The default is evaluation.split of its
      config, test unless that says otherwise.
    samples: times and noises drawn for each sequence; more give a smaller standard error. An exact
      likelihood needs one and takes one.
    batch_size: sequences evaluated at once. It changes no number. The default is that of training.
    seed: seed of times and noise.
    bound: the bound of the process itself, or that of a continuous process through its probability
      flow. The default is evaluation.bound of its config, variational unless that says otherwise.
    flow_steps: Heun steps of the probability flow, at two network evaluations each. The default is
      evaluation.flow_steps of its config, 64 unless that says otherwise.
    rows: evaluate at most so many sequences, evenly spread over the split. A standard error
      needs two. The default is all.
    labels: whether the model sees the labels of labelled text: the bound is then on
      -log p(text | label). Without labels it is on -log p(text), which needs label dropout in
      training.
    times: how times are chosen: stratified over all draws, independent, or the Gauss-Legendre nodes
      in t, so that no Monte Carlo error comes from t.
    scored: all tokens of a row, or those after the first, which is given. The default is as in
      training.
    corpus: zero-shot: evaluate this corpus in place of --split. UTF-8 files, or one of wikitext103,
      ptb, lm1b, lambada, ag_news, pubmed, arxiv; or openwebtext, the documents that papers hold
      out.
    length: tokens of a row of --corpus. The default is the longest that the model was made for.
    output: file to write the record to. The default is one in WORKDIR/evaluations/; where that
      cannot be written, the record is printed.
    sampler: of exact_match: the rule of a step. The default is ancestral.
    sampler_settings: of exact_match: settings of this sampler alone, as in --sampler=confidence
      --sampler.score=margin.
    steps: of exact_match: sampling steps. The default is one for each token of the longest answer.
    temperature: of exact_match: sampling temperature. The default is 0, which takes the most likely
      token.
  """

  metric: Literal["bound", "exact_match"] = "bound"
  split: str | None = None
  samples: PositiveInt = 16
  batch_size: PositiveInt | None = None
  seed: Seed = 0
  bound: Literal["variational", "flow"] | None = None
  flow_steps: PositiveInt | None = None
  rows: Annotated[int, Range(at_least=2)] | None = None
  labels: bool = True
  times: Timing = "stratified"
  scored: Literal["all", "after_first"] | None = None
  corpus: str | None = None
  length: PositiveInt | None = None
  output: str | None = None
  sampler: str | None = None
  sampler_settings: Mapping[str, object] = field(default_factory=dict, metadata={"nested": True})
  steps: PositiveInt | None = None
  temperature: NonNegative | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    require_known("--times", self.times, get_args(Timing))
    if self.length is not None and self.corpus is None:
      raise UserError("--length is of the rows of --corpus: those of the data have their own.")
    of_answers = (self.sampler, self.steps, self.temperature)
    if self.metric == "bound" and (self.sampler_settings or of_answers != (None, None, None)):
      raise UserError(
        "--sampler, --steps and --temperature are of drawn answers, and a bound draws none: add "
        "--metric=exact_match."
      )
    if self.metric == "exact_match" and self.corpus is not None:
      raise UserError(
        "--corpus is of a bound: --metric=exact_match answers the prompts of --split."
      )

  @property
  def sampler_name(self) -> str:
    """The sampler of the answers."""
    return self.sampler or "ancestral"

  @property
  def answer_temperature(self) -> float:
    """The temperature of the answers."""
    return self.temperature or 0.0


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
  """What is judged, and by whom.

  Attributes:
    samples: JSONL file of dlm_jax.sample, with its protocol beside it.
    judge: an autoregressive model: the workdir of a run, the directory of a checkpoint, or the name
      of a causal model of transformers. The default is no judge, and no perplexity.
    weights: which weights of the judge run: averaged, or those of the last step.
    copied: n-gram lengths for the memorisation check, in tokens.
    reference: split of the data whose rows stand beside the samples.
  """

  samples: str
  judge: str | None = None
  weights: Literal["ema", "raw"] = "ema"
  copied: tuple[PositiveInt, ...] = (8, 16, 32)
  reference: str = "test"


@dataclass(frozen=True, kw_only=True)
class HarnessSettings(ModelSettings):
  """What is run.

  Attributes:
    tasks: names of tasks of the harness.
    task_path: directory of more task files (YAML).
    samples: times and noises drawn for each request. An exact likelihood takes one.
    batch_size: rows evaluated at once. It changes no number.
    limit: documents of each task, at most. The default is all.
    shots: examples in the prompt. The default is the task's own number.
    seed: seed of times, noise and continuations.
    preset: name of the decoder that writes answers, see `dlm_jax.generate --help`. The default is
      the first that is meant for the family of a checkpoint; other models draw their answers by the
      sampler, a window after the other.
    decoder_settings: settings of the decoder in place of those of the preset, as in
      --decoder.length=256 --decoder.block=32. All answers have its length and its temperature.
  """

  tasks: tuple[str, ...]
  task_path: str | None = None
  samples: PositiveInt = 128
  batch_size: PositiveInt = 128
  limit: PositiveInt | None = None
  shots: NonNegativeInt | None = None
  seed: Seed = 0
  preset: str | None = None
  decoder_settings: Mapping[str, str] = field(default_factory=dict, metadata={"nested": True})


@dataclass(frozen=True, kw_only=True)
class BlockTimesSettings(ModelSettings):
  """What is searched, and how.

  Attributes:
    batches: batches of the run's training batch size whose losses are compared; every interval sees
      the same.
    split: split of the data that they are drawn from: train, validation or test.
    seed: seed of rows, times and noise.
  """

  batches: Annotated[int, Range(at_least=2)] = 100
  split: str = "validation"
  seed: Seed = 0
