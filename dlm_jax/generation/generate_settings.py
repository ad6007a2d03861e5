"""The flags of the command `generate`, and what its `--help` says of the presets."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import PositiveInt, Seed
from dlm_jax.decoding.published import NAMED
from dlm_jax.model.model_settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(ModelSettings):
  """What is answered, by which model and decoder, and where the answers go.

  Attributes:
    preset: name of the decoder, see below. The default is the first that is meant for the family of
      the model; for a run of this project `greedy`, or `renoise` where it was trained with random
      tokens.
    decoder_settings: settings of the decoder in place of those of the preset, as in
      --decoder.length=64 --decoder.rule=factor --decoder.rule.factor=2 --decoder.cache=dual.
    prompt: text of one prompt.
    prompts: JSONL file with an object a line, which holds a "prompt" (a text), "messages" (of a
      chat, each with "role" and "content") or "tokens" (ids).
    chat: whether --prompt, and each "prompt" of a file, is what the user says in a chat: it is put
      into the chat template of the model.
    num: answers to each prompt.
    batch_size: answers written at once. It changes no answer.
    seed: seed of all draws. An answer depends on the seed, on the number of its prompt and on its
      own.
    live: whether a terminal shows the first answer of every batch while it is written. JAX does not
      keep the compiled program of a live picture, so that --nolive starts sooner the second time.
    trajectory: whether to print how the first answer was written, state by state.
    show: step of the first answer, from 1 on, that is printed as a table: the likeliest tokens of
      every position of the block, with their probabilities, and what was committed. It takes
      --prompt.
    output: JSONL file that gets one object an answer, with its line, its text, its tokens and what
      it cost, those to short prompts first; what they depend on, and what all cost, is written
      beside it, to NAME.protocol.json.
  """

  preset: str | None = None
  decoder_settings: Mapping[str, str] = field(default_factory=dict, metadata={"nested": True})
  prompt: str | None = None
  prompts: str | None = None
  chat: bool = False
  num: PositiveInt = 1
  batch_size: PositiveInt = 8
  seed: Seed = 0
  live: bool = True
  trajectory: bool = False
  show: PositiveInt | None = None
  output: str | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    if (self.prompt is None) == (self.prompts is None):
      raise UserError("give --prompt (a text) or --prompts (a JSONL file), and one of them alone.")
    if self.show is not None and self.prompts is not None:
      raise UserError("--show prints a step of one answer: give it with --prompt, not --prompts.")
    if self.output is not None:
      storage.require_output(self.output, self.prompts)

  @property
  def keeps_steps(self) -> bool:
    """Whether the steps of the first answer are kept, to be printed."""
    return self.trajectory or self.show is not None

  @property
  def path(self) -> Path | None:
    """Of the output."""
    return None if self.output is None else storage.expand(self.output)


def presets_text() -> str:
  """The presets, for `--help`."""
  lines = ["Presets (--preset=NAME); README.md of dlm_jax/decoding has the settings of a decoder:"]
  for name, named in NAMED.items():
    text = f"{name}: {named.source}"
    lines += textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="      ")
  return "\n".join(lines)
