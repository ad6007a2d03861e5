"""The command `generate`: what it shows and the file it writes, answer by answer as they come."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.rule import Rule

from dlm_jax.core.errors import UserError
from dlm_jax.core.exit_codes import MISTAKE
from dlm_jax.core.faults import writing
from dlm_jax.core.types import Record
from dlm_jax.decoding import masked_model, named_decoders
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.distributed.progress import Progress
from dlm_jax.generation import alternatives, answer_states, prompt_lines, rendering
from dlm_jax.generation.answer_states import AnswerState, FirstAnswer
from dlm_jax.generation.answering import Answer, answers, family_of
from dlm_jax.generation.generate_settings import GenerateSettings
from dlm_jax.generation.live_picture import LivePicture
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
  try:
    answer_all(settings, model, decoder, good, written)
  except KeyboardInterrupt:
    where = "" if settings.output is None else f"; they are in {settings.output}"
    raise KeyboardInterrupt(
      f"{len(written)} of {settings.num * len(good)} answers were written{where}"
    ) from None
  finally:
    if written:
      write_protocol(settings, model, preset, decoder, written)
  show_cost(Console(), preset, written)
  return MISTAKE if len(good) < len(found) else 0


def answer_all(
  settings: GenerateSettings,
  model: Model,
  decoder: Decoder,
  lines: Mapping[int, PromptLine],
  written: list[Answer],
) -> None:
  """Answers the prompts `lines` by number; prints and writes each answer as it comes.

  Args:
    settings, model, decoder: of the command.
    lines: the prompts.
    written: gets the answers.

  Raises:
    UserError: the model cannot be decoded so, or the first answer has no step --show.
  """
  console, total = Console(), settings.num * len(lines)
  start = answer_states.start(decoder.length, masked_model.missing_id(model.process))
  first = FirstAnswer(start, 0 if settings.show is None else alternatives.ALTERNATIVES)
  picture = LivePicture(console, lambda tokens: text_of(model, tokens), start, total)
  is_live, is_kept = settings.live and console.is_terminal, settings.keeps_steps
  lines_of_answers = answers(
    decoder,
    model,
    {number: line.tokens for number, line in lines.items()},
    num=settings.num,
    batch_size=settings.batch_size,
    seed=settings.seed,
    watchers=[first] * is_kept + [picture] * is_live,
  )
  with picture if is_live else Progress("answering", total, "answers") as progress:
    for answer in lines_of_answers:
      with progress.paused():
        if not written:
          show_steps(console, settings, model, lines[answer.prompt], first)
        show(console, settings, model, lines[answer.prompt], answer)
        write(settings, model, lines[answer.prompt], answer, first=not written)
      written.append(answer)
      progress.advance()
  if settings.show is not None and settings.show > len(first.steps):
    raise UserError(
      f"--show is {settings.show}, but the first answer was written in {len(first.steps)} steps: "
      "choose one of them."
    )


def text_of(model: Model, tokens: np.ndarray) -> str:
  """The text of tokens; their ids where the model has no tokenizer."""
  if isinstance(model.tokenizer, NoTokenizer):
    return " ".join(map(str, tokens)) + " "
  return model.tokenizer.decode(tokens)


def show_steps(
  console: Console, settings: GenerateSettings, model: Model, line: PromptLine, first: FirstAnswer
) -> None:
  """Prints how the first answer was written, and the step of it that is asked for."""
  if settings.trajectory:
    show_trajectory(console, model, line, first.states)
  number = settings.show
  if number is None or number > len(first.steps):
    return
  console.print(Rule(f"alternatives at step {number} of {len(first.steps)}"))
  states = (first.states[number - 1], first.states[number])
  for row in alternatives.table(
    first.steps[number - 1], states, lambda tokens: text_of(model, tokens)
  ):
    console.print(row, markup=False, highlight=False, soft_wrap=True)


def show_trajectory(
  console: Console, model: Model, line: PromptLine, states: Sequence[AnswerState]
) -> None:
  """Prints how the answer to a prompt was written."""
  number = len(line.tokens)
  rendering.print_trajectory(
    console,
    np.array([np.append(line.tokens, state.tokens) for state in states]),
    lambda tokens: text_of(model, tokens),
    mask_id=states[0].mask_id,
    given=np.arange(number + len(states[0].tokens)) < number,
    certainty=np.array([np.append(np.full(number, np.nan), s.certainty) for s in states]),
    revised=np.array([np.append(np.zeros(number, bool), state.revised) for state in states]),
  )


def show(
  console: Console, settings: GenerateSettings, model: Model, line: PromptLine, answer: Answer
) -> None:
  """Prints an answer under its number."""
  which = f", answer {answer.number + 1}" if settings.num > 1 else ""
  console.print(Rule(f"{line.name}{which}"))
  console.print(
    text_of(model, answer.tokens).strip(), markup=False, highlight=False, soft_wrap=True
  )


def show_cost(console: Console, preset: str, written: Sequence[Answer]) -> None:
  """Prints what the answers cost."""
  cost = cost_of(written)
  console.rule()
  console.print(
    f"preset {preset}: {cost['tokens_per_evaluation']:.3g} tokens a network evaluation, "
    f"{cost['network_evaluations'] / len(written):.4g} evaluations an answer, "
    f"{cost['seconds_without_compilation']:.3g} s, and {cost['seconds_of_compilation']:.3g} s to "
    "compile",
    highlight=False,
    soft_wrap=True,
  )


def cost_of(written: Sequence[Answer]) -> dict[str, float]:
  """What all answers cost; tokens are counted up to the first end token and with it."""
  tokens = sum(len(answer.tokens) for answer in written)
  evaluations = sum(answer.num_evaluations for answer in written)
  return {
    "answers": len(written),
    "tokens": tokens,
    "network_evaluations": evaluations,
    "tokens_per_evaluation": tokens / evaluations,
    "seconds_without_compilation": sum(answer.seconds for answer in written),
    "seconds_of_compilation": sum(answer.compilation for answer in written),
  }


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
    "end_token": model.tokenizer.eos_id,
    # The seconds then hold those in which the host is told of every step.
    "watched": settings.keeps_steps or (settings.live and Console().is_terminal),
    **cost_of(written),
    **provenance.protocol(model.provenance),
  }
  workdir.write_json(settings.path.with_suffix(".protocol.json"), record)
