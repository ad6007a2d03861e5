"""Draws text from a trained model.

  python -m dlm_jax.sample --workdir=W [--num=8] [--steps=64] [--sampler=first_hitting]
  python -m dlm_jax.sample --workdir=W --prompt="the history of "
  python -m dlm_jax.sample --workdir=W --infill="the ____ sat on the ____" --trajectory

Autoregressive models and block diffusion write from left to right, and stop where a text ends. In
--infill each underscore is one unknown token; a text shorter than --length goes on after it.
"""

import dataclasses
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import Array
from rich.console import Console

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Blocks
from dlm_jax.data.store import Store
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.distributed.sharding import batch_sharding, replicated
from dlm_jax.generation import rendering
from dlm_jax.model.denoiser import bound
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs
from dlm_jax.samplers import base as samplers
from dlm_jax.samplers import grids, guidance, loops
from dlm_jax.samplers.base import Request, SampleResult
from dlm_jax.samplers.filters import Filters

# States of a trajectory that are written, at most.
_FRAMES = 128


@dataclass(frozen=True)
class Settings:
  """What is drawn, and how. Raises `UserError` where a value can be seen to be wrong.

  Attributes:
    workdir: of the run.
    num: sequences.
    steps: of the sampler, see `samplers.ancestral` and `samplers.first_hitting`.
    sampler: name of a module in `samplers`.
    sampler_settings: what only this sampler takes, such as `strategy=loop,eta=0.05`.
    prompt: text that every sequence begins with.
    label: that of all sequences, of a model of labelled text; None is none in particular.
    guidance: how much more than the label asks for, see `samplers.guidance`; 1 is no guidance.
    infill: text in which each underscore is one unknown token.
    top_p: nucleus filtering of the prediction; 1 is none.
    top_k: draw from so many most likely tokens; 0 is all.
    temperature: of the prediction; 0 takes the most likely token.
    grid: of times, `uniform` or `cosine`.
    length: tokens a sequence; None is the length the model was trained at, and its limit but for
      block diffusion.
    batch_size: sequences drawn at once. Changes no sequence.
    weights: `ema` or `raw`.
    step: which checkpoint; None is the newest.
    seed: of all draws. Sequence i depends on it and on i alone.
    trajectory: also show how the first sequence was refined.
    output: a JSONL file for the sequences; a file beside it holds what they depend on.
  """

  workdir: str
  num: int = 8
  steps: int = 64
  sampler: str = "ancestral"
  sampler_settings: str = ""
  prompt: str | None = None
  infill: str | None = None
  label: int | None = None
  guidance: float = 1.0
  top_p: float = 1.0
  top_k: int = 0
  temperature: float = 1.0
  grid: str = "uniform"
  length: int | None = None
  batch_size: int = 64
  weights: str = "ema"
  step: int | None = None
  seed: int = 0
  trajectory: bool = False
  output: str | None = None

  def __post_init__(self) -> None:
    for name in ("num", "steps", "batch_size"):
      if getattr(self, name) < 1:
        raise UserError(f"--{name} must be at least 1, got {getattr(self, name)}.")
    if self.prompt is not None and self.infill is not None:
      raise UserError("--prompt and --infill exclude each other: put the prompt into --infill.")
    if self.label is None and self.guidance != 1.0:
      raise UserError("--guidance needs a --label to guide to.")
    samplers.from_text(self.sampler, self.sampler_settings)
    grids.check(self.grid)
    self.filters  # noqa: B018  refuses values out of range
    if self.output is not None and not Path(self.output).absolute().parent.is_dir():
      raise UserError(f"the directory of --output {self.output} does not exist: make it first.")

  @property
  def filters(self) -> Filters:
    return Filters(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)


@dataclass(frozen=True)
class Drawn:
  """The sequences and what they cost.

  Attributes:
    tokens: int32 `[num, L]`.
    given: bool `[L]`.
    nfe: network evaluations of each batch.
    trajectory: int32 `[frames, L]` of the first sequence, or None.
    seconds: spent drawing, without compilation.
  """

  tokens: np.ndarray
  given: np.ndarray
  nfe: list[int]
  trajectory: np.ndarray | None
  seconds: float

  @property
  def tokens_per_second(self) -> float:
    """Unknown tokens drawn a second, without compilation."""
    return float(len(self.tokens) * np.sum(~self.given) / self.seconds)


def checked_length(asked: int | None, experiment: experiments.Experiment) -> int:
  """The length to draw: `asked`, or as trained. Raises `UserError` beyond what was trained.

  But blocks go on for as long as they are asked to.
  """
  trained = experiment.length
  if asked is None:
    return trained
  unlimited = isinstance(experiment.process.pattern, Blocks)
  if asked < 1 or (asked > trained and not unlimited):
    limit = "be at least 1" if unlimited else f"lie in 1..{trained} (the model's length)"
    raise UserError(f"--length must {limit}, got {asked}.")
  return asked


def check_label(settings: Settings, experiment: experiments.Experiment) -> None:
  """Raises `UserError` unless the model can draw with the label and the guidance asked for."""
  asked, known = settings.label, experiment.store.num_labels
  if asked is not None and known == 0:
    raise UserError(f"--label is {asked}, but the model was trained on text without labels.")
  if asked is not None and not 0 <= asked < known:
    raise UserError(f"--label must lie in 0..{known - 1}, got {asked}.")
  if known and (asked is None or settings.guidance != 1.0):
    experiment.check_unlabelled("sampling without --label" if asked is None else "--guidance")


def conditioning(
  store: Store, length: int, prompt: str | None, infill: str | None
) -> tuple[np.ndarray, np.ndarray]:
  """The known tokens int32 `[length]` (0 where unknown) and where they are, bool `[length]`.

  Where the model has learned rows between begin and end symbols, a text comes after a begin.

  Raises:
    UserError: the text is longer than `length`, or holds characters outside the alphabet.
  """
  tokenizer = store.tokenizer
  pieces = [prompt or ""] if infill is None else re.split("(_)", infill)
  known: list[int | None] = []
  if any(pieces) and store.manifest["packing"] == "wrapped":
    known.append(tokenizer.bos_id)
  for piece in filter(None, pieces):
    unknown = infill is not None and piece == "_"
    known += [None] if unknown else tokenizer.encode(piece, strict=True).tolist()
  if len(known) > length:
    name = "--prompt" if infill is None else "--infill"
    raise UserError(f"{name} has {len(known)} tokens, but the length is {length}: shorten it.")
  known += [None] * (length - len(known))
  given = np.array([token is not None for token in known])
  return np.array([token or 0 for token in known], np.int32), given


def draw(
  settings: Settings, restored: experiments.Restored, tokens: np.ndarray, given: np.ndarray
) -> Drawn:
  """Draws the sequences in batches of one compiled loop."""
  experiment = restored.experiment
  shards = batch_shards(experiment.mesh)
  rows = -(-min(settings.batch_size, settings.num) // shards) * shards
  indices = np.arange(-(-settings.num // rows) * rows).reshape(-1, rows)
  batches = [jax.device_put(batch, batch_sharding(experiment.mesh)) for batch in indices]
  with jax.set_mesh(experiment.mesh):
    loop = _loop(settings, experiment, (rows, len(tokens)), tokens, given)
    compiled = loop.lower(restored.params, batches[0]).compile()
    started = time.perf_counter()
    results = [jax.device_get(compiled(restored.params, batch)) for batch in batches]
    seconds = time.perf_counter() - started
  first = results[0].trajectory
  return Drawn(
    tokens=np.concatenate([r.tokens for r in results])[: settings.num],
    given=given,
    nfe=[int(r.num_evaluations) for r in results],
    trajectory=None if first is None else first[:, 0],
    seconds=seconds,
  )


def _loop(
  settings: Settings,
  experiment: experiments.Experiment,
  shape: tuple[int, int],
  tokens: np.ndarray,
  given: np.ndarray,
) -> jax.stages.Wrapped:
  """The jitted `(params, indices [B]) -> SampleResult` that draws the sequences `indices`."""
  sampler = samplers.from_text(settings.sampler, settings.sampler_settings)
  known = {}
  if given.any():
    known = {"tokens": np.broadcast_to(tokens, shape), "given": np.broadcast_to(given, shape)}

  def sample(params: Any, indices: Array) -> SampleResult:
    key = jax.random.key(settings.seed)
    process, denoise = _guided(settings, experiment, params, shape[0])
    request = Request(
      keys=jax.vmap(jax.random.fold_in, (None, 0))(key, indices),
      length=shape[1],
      steps=settings.steps,
      grid=settings.grid,
      filters=settings.filters,
      trajectory=settings.trajectory,
      end_id=experiment.store.tokenizer.eos_id,
      reuse=not experiment.network.knows_time,
      **known,
    )
    return loops.sample(sampler, process, denoise, request)

  return jax.jit(sample, out_shardings=replicated(experiment.mesh))


def _guided(
  settings: Settings, experiment: experiments.Experiment, params: Any, rows: int
) -> tuple[Process, Denoise]:
  """The process and the denoiser under the label and the guidance that are asked for."""
  if settings.label is None:
    return bound(experiment.process, experiment.denoiser(params))
  labels = jnp.full(rows, settings.label)
  process, labelled = bound(experiment.process, experiment.denoiser(params, labels))
  _, unlabelled = bound(experiment.process, experiment.denoiser(params))
  return guidance.guide(process, labelled, unlabelled, settings.guidance)


def write(settings: Settings, restored: experiments.Restored, drawn: Drawn) -> None:
  """Writes a JSON object a sequence to `settings.output`, and what they depend on beside it."""
  path = Path(settings.output)
  decode = restored.experiment.store.tokenizer.decode
  with path.open("w", encoding="utf-8") as file:
    for index, row in enumerate(drawn.tokens):
      line = {"index": index, "text": decode(row), "tokens": row.tolist()}
      file.write(json.dumps(line, ensure_ascii=False) + "\n")
  environment = workdirs.environment(restored.experiment.store.hash)
  record = {
    "settings": dataclasses.asdict(settings),
    "sampler": settings.sampler,
    "network_evaluations": drawn.nfe,
    "tokens_per_second": drawn.tokens_per_second,
    "seconds_without_compilation": drawn.seconds,
    "trajectory": _frames(restored, drawn),
    **provenance.protocol(restored, settings.weights, environment),
  }
  workdirs.write_json(path.with_suffix(".protocol.json"), record)


def _frames(restored: experiments.Restored, drawn: Drawn) -> list[list[str]] | None:
  """How the first sequence was refined, if that was asked for: the text of each token by frame."""
  if drawn.trajectory is None:
    return None
  decode = restored.experiment.store.tokenizer.decode
  mask_id = getattr(restored.experiment.process, "mask_id", None)
  steps = rendering.chosen_frames(drawn.trajectory, _FRAMES)
  return [
    [rendering.MASK if token == mask_id else decode(np.array([token])) for token in state]
    for state in drawn.trajectory[steps]
  ]


def show(console: Console, restored: experiments.Restored, drawn: Drawn) -> None:
  """Prints the trajectory, if there is one, the sequences and what they cost."""
  decode = restored.experiment.store.tokenizer.decode
  style = {"mask_id": getattr(restored.experiment.process, "mask_id", None), "given": drawn.given}
  if drawn.trajectory is not None:
    rendering.print_trajectory(console, drawn.trajectory, decode, **style)
  rendering.print_samples(console, drawn.tokens, decode, **style)
  console.rule()
  console.print(
    f"{np.mean(drawn.nfe):.4g} network evaluations a batch, "
    f"{drawn.tokens_per_second:,.0f} tokens/s (compilation excluded)",
    highlight=False,
    soft_wrap=True,
  )


def define_flags() -> None:
  command_line.define_cluster()
  flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
  flags.DEFINE_integer("num", 8, "Sequences to draw.")
  flags.DEFINE_integer(
    "steps",
    64,
    "Steps of the sampler. For first_hitting, the most network evaluations: exact from the length "
    "on. An autoregressive model takes no notice: one evaluation a token.",
  )
  known = ", ".join(resolve.names(samplers.PACKAGE))
  flags.DEFINE_string(
    "sampler", "ancestral", f"The rule of a step of the reverse process: {known}."
  )
  flags.DEFINE_string(
    "sampler_settings", "", "What only this sampler takes, such as strategy=loop,eta=0.05."
  )
  flags.DEFINE_string("prompt", None, "Text that every sequence begins with.")
  flags.DEFINE_string("infill", None, "Text in which each underscore is one unknown token.")
  flags.DEFINE_integer("label", None, "Label of the sequences, for a model of labelled text.")
  flags.DEFINE_float("guidance", 1.0, "Classifier-free guidance to the label; 1 is none.")
  flags.DEFINE_float("top_p", 1.0, "Nucleus filtering: probability that is kept, in (0, 1].")
  flags.DEFINE_integer("top_k", 0, "Draw from so many most likely tokens; 0 is all.")
  flags.DEFINE_float("temperature", 1.0, "Of the prediction; 0 takes the most likely token.")
  flags.DEFINE_string("grid", "uniform", f"Of times: {', '.join(grids.GRIDS)}.")
  flags.DEFINE_integer(
    "length", None, "Tokens a sequence; by default as trained, and more only for block diffusion."
  )
  flags.DEFINE_integer("batch_size", 64, "Sequences drawn at once; changes no sequence.")
  flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged weights, or those last trained.")
  flags.DEFINE_integer("step", None, "Checkpoint to draw from; the newest by default.")
  flags.DEFINE_integer("seed", 0, "Seed of all draws.")
  flags.DEFINE_bool("trajectory", False, "Show how the first sequence was refined.")
  flags.DEFINE_string("output", None, "JSONL file to write the sequences to.")


def main() -> None:
  fields = [field.name for field in dataclasses.fields(Settings)]
  settings = Settings(**{name: flags.FLAGS[name].value for name in fields})
  restored = experiments.restore(settings.workdir, step=settings.step, weights=settings.weights)
  experiment = restored.experiment
  check_label(settings, experiment)
  length = checked_length(settings.length, experiment)
  tokens, given = conditioning(experiment.store, length, settings.prompt, settings.infill)
  drawn = draw(settings, restored, tokens, given)
  if jax.process_index() == 0:
    show(Console(), restored, drawn)
    if settings.output is not None:
      write(settings, restored, drawn)


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
