"""The command `generate`: what it shows and the file it writes, answer by answer as they come."""

import dataclasses
import json
import sys

import numpy as np
from rich.console import Console
from rich.rule import Rule

from dlm_jax.core.exit_codes import MISTAKE
from dlm_jax.core.faults import writing
from dlm_jax.core.types import Record
from dlm_jax.decoding import masked_model, named_decoders
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.generation import prompt_lines, rendering
from dlm_jax.generation.answering import Answer, answers, family_of
from dlm_jax.generation.generate_settings import GenerateSettings
from dlm_jax.generation.prompt_lines import PromptLine
from dlm_jax.interop.opening import load
from dlm_jax.interop.tokenizer_files import NoTokenizer
from dlm_jax.model.model import Model
from dlm_jax.runs import provenance, workdir


def main(settings: GenerateSettings) -> int:
  """The command. The exit code says whether all prompts were answered.

  Raises:
    UserError: there is no such model or decoder, or no prompt can be answered.
  """
  model = load(settings.workdir, step=settings.step, weights=settings.weights)
  family, has_noise = family_of(model), masked_model.has_noise(model.process)
  preset = settings.preset or named_decoders.default_of(family, has_noise)
  decoder = named_decoders.of(preset, settings.decoder_settings, family, has_noise)
  found = prompt_lines.read(settings, model, decoder.length)
  good = {line.number: line for line in found if not line.error}
  for line in found:
    if line.error:
      print(f"error: {line.error}", file=sys.stderr)
  if not good:
    return MISTAKE
  written: list[Answer] = []
  lines = answers(
    decoder,
    model,
    {number: line.tokens for number, line in good.items()},
    num=settings.num,
    batch_size=settings.batch_size,
    seed=settings.seed,
    trajectory=settings.trajectory,
  )
  console = Console()
  for answer in lines:
    show(console, settings, model, good[answer.prompt], answer, first=not written)
    write(settings, model, good[answer.prompt], answer, first=not written)
    written.append(answer)
  write_protocol(settings, model, preset, decoder, written)
  show_cost(console, preset, written)
  return MISTAKE if len(good) < len(found) else 0


def text_of(model: Model, tokens: np.ndarray) -> str:
  """The text of tokens; their ids where the model has no tokenizer."""
  if isinstance(model.tokenizer, NoTokenizer):
    return " ".join(map(str, tokens)) + " "
  return model.tokenizer.decode(tokens)


def show(
  console: Console,
  settings: GenerateSettings,
  model: Model,
  line: PromptLine,
  answer: Answer,
  first: bool,
) -> None:
  """Prints an answer under its number, and before the very first how it was written."""
  if first and answer.trajectory is not None:
    rendering.print_trajectory(
      console,
      answer.trajectory,
      lambda tokens: text_of(model, tokens),
      mask_id=masked_model.missing_id(model.process),
      given=np.arange(answer.trajectory.shape[1]) < len(line.tokens),
    )
  which = f", answer {answer.number + 1}" if settings.num > 1 else ""
  console.print(Rule(f"{line.name}{which}"))
  console.print(
    text_of(model, answer.tokens).strip(), markup=False, highlight=False, soft_wrap=True
  )


def show_cost(console: Console, preset: str, written: list[Answer]) -> None:
  """Prints what the answers cost."""
  tokens = sum(len(answer.tokens) for answer in written)
  evaluations = sum(answer.num_evaluations for answer in written)
  console.rule()
  console.print(
    f"preset {preset}: {tokens / evaluations:.3g} tokens a network evaluation, "
    f"{evaluations / len(written):.4g} evaluations an answer",
    highlight=False,
    soft_wrap=True,
  )


def write(
  settings: GenerateSettings, model: Model, line: PromptLine, answer: Answer, first: bool
) -> None:
  """Writes an answer behind those before it. The first replaces what the file held."""
  if settings.path is None:
    return
  record: Record = {
    "line": line.number,
    "answer": answer.number,
    "text": text_of(model, answer.tokens).strip(),
    "tokens": answer.tokens.tolist(),
    "network_evaluations": answer.num_evaluations,
    "tokens_per_evaluation": len(answer.tokens) / answer.num_evaluations,
  }
  with writing(settings.path), settings.path.open("w" if first else "a", encoding="utf-8") as file:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_protocol(
  settings: GenerateSettings, model: Model, preset: str, decoder: Decoder, written: list[Answer]
) -> None:
  """Writes what the answers depend on beside them."""
  if settings.path is None:
    return
  record = {
    "settings": dataclasses.asdict(settings),
    "preset": preset,
    "decoder": named_decoders.describe(decoder),
    "answers": len(written),
    "network_evaluations": sum(answer.num_evaluations for answer in written),
    "seconds_without_compilation": sum(answer.seconds for answer in written),
    "seconds_of_compilation": sum(answer.compilation for answer in written),
    **provenance.protocol(model.provenance),
  }
  workdir.write_json(settings.path.with_suffix(".protocol.json"), record)
