"""Answers of any length, as lm-evaluation-harness asks for them: drawn a window after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from absl import logging

from dlm_jax.core.fields import Field
from dlm_jax.core.ranges import NonNegative, NonNegativeInt
from dlm_jax.core.types import Fields
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.evaluation.continuations import Continuation, Continuer, Tokens

# What tasks call the number of tokens; the first that is there counts, as in the harness.
_MAX_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_OPTIONS: dict[str, object] = {
  "do_sample": bool | None,
  "temperature": NonNegative | None,
  **dict.fromkeys(_MAX_TOKENS, NonNegativeInt | None),
}


@dataclass(frozen=True)
class AnswerOptions:
  """How an answer is drawn, and where it ends.

  Attributes:
    until: texts that end it, and are no part of it.
    max_tokens: tokens that it has at most.
    temperature: 0 takes the most likely token at every step.
  """

  until: tuple[str, ...]
  max_tokens: int
  temperature: float

  @classmethod
  def read(cls, options: Fields, max_tokens: int) -> Self:
    """The `generation_kwargs` of a task, each value of its type, as text, or None.

    Args:
      options: by the names that the harness gives them.
      max_tokens: where they say nothing of it.

    Raises:
      UserError: a value is of another type or out of range.
    """
    ignored = ", ".join(sorted(options.keys() - {"until", *_OPTIONS}))
    if ignored:
      logging.log_first_n(logging.WARNING, "the options %s are ignored", 1, ignored)
    found = {
      name: Field(name, kind).read(options.get(name), name) for name, kind in _OPTIONS.items()
    }
    lengths = [found[name] for name in _MAX_TOKENS if found[name] is not None]
    temperature = found["temperature"]
    if temperature is None:
      temperature = 1.0 if found["do_sample"] else 0.0
    until = options.get("until")
    ends = until if isinstance(until, list | tuple) else [until]
    return cls(
      until=tuple(str(end) for end in ends if end),
      max_tokens=cast("int", (lengths or [max_tokens])[0]),
      temperature=0.0 if found["do_sample"] is False else cast("float", temperature),
    )


@dataclass(frozen=True)
class Question:
  """The tokens of a prompt, and how its answer is drawn."""

  prompt: Tokens
  options: AnswerOptions

  def window(self, answer: Tokens, length: int) -> Continuation:
    """What is drawn next in a row of `length` tokens, of which the prompt keeps half."""
    before = self.prompt + answer
    room = max(length // 2, length - len(before), 1)
    new = min(self.options.max_tokens - len(answer), room)
    return Continuation(before[max(len(before) + new - length, 0) :], new, self.options.temperature)

  def text(self, answer: Tokens, tokenizer: Tokenizer) -> tuple[str, bool]:
    """The text of the answer as far as it was drawn, and whether it has ended."""
    is_end = [token == tokenizer.eos_id for token in answer]
    tokens = answer[: is_end.index(True)] if any(is_end) else answer
    text = tokenizer.decode(np.array(tokens, np.int32))
    found = [text.find(end) for end in self.options.until if end in text]
    ended = any(is_end) or bool(found) or len(answer) >= self.options.max_tokens
    return text[: min(found, default=len(text))], ended


def answers(questions: Sequence[Question], continuer: Continuer) -> list[str]:
  """The answer of each question; those that have not ended are drawn on together."""
  texts = [""] * len(questions)
  drawn: dict[int, Tokens] = {n: () for n, q in enumerate(questions) if q.options.max_tokens}
  length, tokenizer = continuer.model.length, continuer.model.tokenizer
  while drawn:
    windows = [questions[n].window(answer, length) for n, answer in drawn.items()]
    for n, tokens in zip(list(drawn), continuer(windows), strict=True):
      drawn[n] += tokens
      texts[n], ended = questions[n].text(drawn[n], tokenizer)
      if ended:
        del drawn[n]
  return texts
