"""Text drawn from a run, for a person: shown on a terminal, written as JSON lines or as an SVG."""

import dataclasses
import json

import jax
import numpy as np
from rich.console import Console

from dlm_jax.core.faults import writing
from dlm_jax.distributed.progress import Progress
from dlm_jax.generation import animation, prompts, rendering
from dlm_jax.generation.draw import Samples, draw_batches, join
from dlm_jax.generation.sample_settings import SampleSettings
from dlm_jax.interop.opening import load
from dlm_jax.model.model import Model
from dlm_jax.runs import provenance, workdir

# States of a trajectory that are written, at most.
_FRAMES = 128


def sample(settings: SampleSettings) -> Samples:
  """Draws the sequences; prints each batch and writes it to `settings.output`, as it comes.

  Raises:
    UserError: there is no such run, or its model cannot draw with these settings.
    KeyboardInterrupt: says what was drawn until then, and where it is.
  """
  texts = settings.texts()
  model = load(settings.workdir, step=settings.step, weights=settings.weights)
  length = prompts.check_length(model, settings.length)
  given = [prompts.row(model, length, text, name) for name, text in texts]
  total = settings.num * len(given)
  prompt, of_all = prompts.rows(given, settings.num), dataclasses.replace(settings, num=total)
  batches: list[Samples] = []
  is_first = jax.process_index() == 0
  try:
    with Progress("drawing", total, "sequences") as progress:
      for batch in draw_batches(of_all, model, prompt):
        with progress.paused():
          if is_first:
            show(Console(), model, batch, first=progress.done, animated=settings.is_animation)
            write(settings, model, batch, first=progress.done)
        batches.append(batch)
        progress.advance(len(batch.tokens))
  except KeyboardInterrupt:
    where = "" if settings.output is None else f"; they are in {settings.output}"
    raise KeyboardInterrupt(f"{progress.done} of {total} sequences were drawn{where}") from None
  finally:
    if is_first and batches:
      write_protocol(settings, model, join(batches))
  samples = join(batches)
  if is_first:
    show_cost(Console(), samples)
  return samples


def show(
  console: Console, model: Model, batch: Samples, *, first: int = 0, animated: bool = False
) -> None:
  """Prints the sequences of a batch, and before the very first their trajectory.

  Args:
    console: where.
    model: what drew them.
    batch: the sequences.
    first: how many were printed before.
    animated: whether the trajectory is shown elsewhere.
  """
  decode = model.tokenizer.decode
  mask_id, given = rendering.mask_of(model.process), batch.given
  if batch.trajectory is not None and not first and not animated:
    rendering.print_trajectory(console, batch.trajectory, decode, mask_id=mask_id, given=given[0])
  rendering.print_samples(console, batch.tokens, decode, first=first, mask_id=mask_id, given=given)


def show_cost(console: Console, samples: Samples) -> None:
  """Prints what the sequences cost."""
  console.rule()
  console.print(
    f"{np.mean(samples.num_evaluations):.4g} network evaluations a batch, "
    f"{samples.tokens_per_second:,.0f} tokens/s (compilation excluded)",
    highlight=False,
    soft_wrap=True,
  )


def write(settings: SampleSettings, model: Model, batch: Samples, *, first: int = 0) -> None:
  """Writes the sequences of a batch behind the `first` that were written before.

  The first batch replaces what the file held, begins the protocol, and gives the animation.
  """
  path = settings.path
  if path is None:
    return
  if not first:
    write_protocol(settings, model, batch)
  if settings.is_animation:
    if not first:
      states = token_texts(model, batch.trajectory)
      with writing(path):
        path.write_text(animation.svg(states, given=batch.given[0]), encoding="utf-8")
    return
  with writing(path), path.open("a" if first else "w", encoding="utf-8") as file:
    for index, row in enumerate(batch.tokens, start=first):
      line = {"index": index, "text": model.tokenizer.decode(row), "tokens": row.tolist()}
      if settings.prompts is not None:
        line["prompt"] = index // settings.num
      file.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_protocol(settings: SampleSettings, model: Model, samples: Samples) -> None:
  """Writes what the sequences depend on, and what they cost, beside them."""
  if settings.path is None:
    return
  frames = samples.trajectory
  record = {
    "settings": dataclasses.asdict(settings),
    "sampler": settings.sampler,
    "network_evaluations": samples.num_evaluations,
    "tokens_per_second": samples.tokens_per_second,
    "seconds_without_compilation": samples.seconds,
    "trajectory": None
    if frames is None
    else token_texts(model, frames[rendering.chosen_frames(frames, _FRAMES)]),
    **provenance.protocol(model.provenance),
  }
  workdir.write_json(settings.path.with_suffix(".protocol.json"), record)


def token_texts(model: Model, states: np.ndarray) -> list[list[str]]:
  """The text of each token of the states `[frames, L]`, the mask as a dot."""
  mask_id = rendering.mask_of(model.process)
  texts = {
    int(token): rendering.MASK if token == mask_id else model.tokenizer.decode(np.array([token]))
    for token in np.unique(states)
  }
  return [[texts[token] for token in state] for state in states.tolist()]


def main(settings: SampleSettings) -> None:
  """The command `sample`."""
  sample(settings)
