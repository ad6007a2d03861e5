"""Answers of masked models to the harness's prompts, written by a decoder of `dlm_jax.decoding`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, cast

import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Record
from dlm_jax.decoding import masked_model, named_decoders
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.published import NAMED
from dlm_jax.distributed import progress
from dlm_jax.evaluation.answers import Question
from dlm_jax.evaluation.conditional import ScoringRequest
from dlm_jax.evaluation.continuations import Tokens
from dlm_jax.evaluation.evaluation_settings import HarnessSettings
from dlm_jax.evaluation.journal import Journal
from dlm_jax.generation import answering
from dlm_jax.model.model import Model


@dataclass(frozen=True)
class HarnessDecoder:
  """By which decoder a model answers the harness.

  Every answer is written with the length and the temperature of the decoder, whatever a task says
  of them; of the tokens, those beyond the number that the task allows are cut off.

  Attributes:
    preset: name of the decoder.
    decoder: with what the command line changes.
  """

  preset: str
  decoder: Decoder

  @classmethod
  def of(cls, settings: HarnessSettings, model: Model) -> Self | None:
    """That of --preset and --decoder.*, else the first that is meant for the family of the model.

    None where there is neither: such a model continues a prompt by its sampler.

    Raises:
      UserError: there is no such decoder, or it leaves no room for a prompt.
    """
    family, has_noise = answering.family_of(model), masked_model.has_noise(model.process)
    default = named_decoders.default_of(family, has_noise)
    if settings.preset is None and not settings.decoder_settings and not NAMED[default].families:
      return None
    preset = settings.preset or default
    decoder = named_decoders.of(preset, settings.decoder_settings, family, has_noise)
    if decoder.length >= model.length:
      raise UserError(
        f"an answer of {decoder.length} tokens leaves no room for a prompt in the {model.length} "
        "of the model: lower --decoder.length."
      )
    return cls(preset, decoder)

  def protocol(self, model: Model) -> Record:
    """What answers depend on, with what becomes of the end token."""
    return {
      "preset": self.preset,
      "decoder": named_decoders.describe(self.decoder),
      "end_token": model.tokenizer.eos_id,
      "ends_at_end_token": self.decoder.stop,
    }


@dataclass(frozen=True)
class DecodedAnswers:
  """Writes answers, and recalls those that were written before.

  Attributes:
    model: what writes.
    harness_decoder: how.
    batch_size: answers at once. It changes none.
    seed: of the draws; an answer depends on it and on its prompt alone.
    journal: where answers are kept as they come.
  """

  model: Model
  harness_decoder: HarnessDecoder
  batch_size: int = 128
  seed: int = 0
  journal: Journal = field(default_factory=Journal)

  def __call__(self, questions: Sequence[Question]) -> list[str]:
    """The text of each answer. A prompt that is too long loses its beginning."""
    room = self.model.length - self.harness_decoder.decoder.length
    prompts = [question.prompt[-room:] for question in questions]
    written = self._written(prompts)
    return [
      question.text(written[prompt][: question.options.max_tokens], self.model.tokenizer)[0]
      for question, prompt in zip(questions, prompts, strict=True)
    ]

  def _written(self, prompts: Sequence[Tokens]) -> dict[Tokens, Tokens]:
    """The answer to each prompt."""
    settings = {"seed": self.seed, **self.harness_decoder.protocol(self.model)}
    done: dict[Tokens, Tokens] = {
      tuple(cast("list[int]", key)): tuple(cast("list[int]", value))
      for key, value in self.journal.read("decode", settings)
    }
    wanted: dict[int, Tokens] = {}
    for prompt in dict.fromkeys(prompts):
      if prompt not in done:
        number = int(ScoringRequest(prompt, ()).digest)
        while number in wanted:
          number = (number + 1) % 2**32
        wanted[number] = prompt
    with progress.Progress("answering", len(wanted), "prompts") as shown:
      for answer in answering.answers(
        self.harness_decoder.decoder,
        self.model,
        {number: np.array(prompt, np.int32) for number, prompt in wanted.items()},
        batch_size=self.batch_size,
        seed=self.seed,
      ):
        prompt = wanted[answer.prompt]
        done[prompt] = tuple(answer.tokens.tolist())
        self.journal.write("decode", settings, list(prompt), list(done[prompt]))
        shown.advance()
    return done
