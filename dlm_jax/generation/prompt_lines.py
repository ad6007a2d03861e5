"""The prompts of `generate` as tokens, and those that cannot be answered."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Json
from dlm_jax.data import reading
from dlm_jax.data.tokenizers.hf import Hf
from dlm_jax.generation import chat_template
from dlm_jax.generation.generate_settings import GenerateSettings
from dlm_jax.model.model import Model

_FORMS = '{"prompt": "..."}, {"messages": [{"role": "user", "content": "..."}]} or {"tokens": [..]}'


@dataclass(frozen=True)
class PromptLine:
  """One prompt.

  Attributes:
    name: where it is from, for messages: `--prompt`, or the line of a file.
    number: of the line, from 1; 0 of --prompt.
    tokens: int32 `[n]`; empty where there is an error.
    error: why it cannot be answered, or empty.
  """

  name: str
  number: int
  tokens: np.ndarray
  error: str = ""


def read(settings: GenerateSettings, model: Model, length: int) -> list[PromptLine]:
  """All prompts, for answers of `length` tokens. A fault of one is told in its `error`.

  Raises:
    UserError: the file cannot be read, or has no line.
  """
  found = []
  for name, number, line in _lines(settings):
    try:
      tokens = _tokens(settings, model, name, line)
      _check(model, name, tokens, length)
      found.append(PromptLine(name, number, tokens))
    except UserError as error:
      found.append(PromptLine(name, number, np.zeros(0, np.int32), str(error)))
  if not found:
    raise UserError(f"--prompts {settings.prompts} has no line: give it one for each prompt.")
  return found


def _lines(settings: GenerateSettings) -> Iterator[tuple[str, int, str]]:
  """The name, the number and the JSON of each prompt."""
  if settings.prompt is not None:
    yield "--prompt", 0, json.dumps({"prompt": settings.prompt})
    return
  for number, line in enumerate(reading.lines(storage.expand(settings.prompts)), start=1):
    if line.strip():
      yield f"line {number} of {settings.prompts}", number, line


def _tokens(settings: GenerateSettings, model: Model, name: str, line: str) -> np.ndarray:
  """The tokens of one prompt. Raises `UserError`, naming it."""
  try:
    value: Json = json.loads(line)
  except ValueError:
    value = None
  fields = value if isinstance(value, dict) and len(value) == 1 else {}
  try:
    match fields:
      case {"prompt": str(text)} if settings.chat:
        return _of_chat(model, [{"role": "user", "content": text}])
      case {"prompt": str(text)}:
        return model.tokenizer.encode(text)
      case {"messages": list(messages)} if messages and all(map(_is_message, messages)):
        return _of_chat(model, messages)
      case {"tokens": list(ids)} if all(type(i) is int for i in ids):
        return np.array(ids, np.int32)
  except UserError as error:
    raise UserError(f"{name}: {error}") from error
  raise UserError(f"{name} must be {_FORMS}, got {line.strip()!r:.80}.")


def _is_message(value: Json) -> bool:
  match value:
    case {"role": str(), "content": str()}:
      return True
  return False


def _of_chat(model: Model, messages: list[chat_template.Message]) -> np.ndarray:
  directory = storage.local(model.provenance.workdir)
  text = chat_template.read(directory).render(messages)
  tokenizer = model.tokenizer
  return tokenizer.encode_symbols(text) if isinstance(tokenizer, Hf) else tokenizer.encode(text)


def _check(model: Model, name: str, tokens: np.ndarray, length: int) -> None:
  """Raises `UserError` where the model cannot answer a prompt of these tokens."""
  if not len(tokens):
    raise UserError(f"{name} is empty: a model answers at least one token.")
  if len(tokens) + length > model.length:
    raise UserError(
      f"{name} has {len(tokens)} token{'s' * (len(tokens) > 1)}, which with an answer of {length} "
      f"is more than the {model.length} of the model: shorten it, or lower --decoder.length."
    )
  outside = tokens[(tokens < 0) | (tokens >= model.network.vocab_size)]
  if len(outside):
    raise UserError(
      f"{name} has the token {outside[0]}, but ids lie in 0..{model.network.vocab_size - 1}."
    )
