"""The text that a person gives the sequences: to begin with, or to fill in."""

import json
from dataclasses import dataclass

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.data import reading
from dlm_jax.generation.prompt_text import BLANK, Pieces, pieces

_SOURCES = ("prompt", "infill", "prompt_file", "infill_file", "prompts")


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
  r"""What is given of each sequence.

  Attributes:
    prompt: text that every sequence begins with, in which \n is a new line, \t a tabulator and \\ a
      backslash.
    infill: text in which each --blank is one token to draw, as in "the ____ sat", with the escapes
      of --prompt; after a backslash a blank is text.
    prompt_file: file with the text that every sequence begins with. It is read as it stands, but
      for the new line at its end.
    infill_file: file with the text to fill in, read likewise.
    prompts: JSONL file with an object a line that holds a "prompt" or an "infill"; --num sequences
      are drawn of each.
    blank: what stands for one token to draw in an infilling.
  """

  prompt: str | None = None
  infill: str | None = None
  prompt_file: str | None = None
  infill_file: str | None = None
  prompts: str | None = None
  blank: str = BLANK

  def __post_init__(self) -> None:
    given = [f"--{name}" for name in _SOURCES if getattr(self, name) is not None]
    if len(given) > 1:
      raise UserError(f"{' and '.join(given)} exclude each other: give one of them.")
    if not self.blank or "\\" in self.blank:
      raise UserError(f"--blank must be text without a backslash, got {self.blank!r}.")

  def texts(self) -> list[tuple[str, Pieces]]:
    """The name and the pieces of each text that is given.

    Raises:
      UserError: a file cannot be read, or a line of it holds something else.
    """
    if self.prompt is not None:
      return [("--prompt", pieces(self.prompt, escapes=True))]
    if self.infill is not None:
      return [("--infill", pieces(self.infill, self.blank, escapes=True))]
    if self.prompt_file is not None:
      return [("--prompt_file", pieces(_text(self.prompt_file)))]
    if self.infill_file is not None:
      return [("--infill_file", pieces(_text(self.infill_file), self.blank))]
    if self.prompts is not None:
      return self._of_lines(self.prompts)
    return [("nothing", [])]

  def _of_lines(self, path: str) -> list[tuple[str, Pieces]]:
    found = []
    for number, line in enumerate(reading.lines(storage.expand(path)), start=1):
      if line.strip():
        name = f"line {number} of {path}"
        field, text = _field(name, line)
        found.append((name, pieces(text, self.blank if field == "infill" else None)))
    if not found:
      raise UserError(f"--prompts {path} has no line: give it one for each prompt.")
    return found


def _text(path: str) -> str:
  return "".join(reading.lines(storage.expand(path))).removesuffix("\n")


def _field(name: str, line: str) -> tuple[str, str]:
  """What a line of JSON holds, `prompt` or `infill`, and its text."""
  try:
    value = json.loads(line)
  except ValueError:
    value = None
  if isinstance(value, dict) and len(value) == 1:
    ((field, text),) = value.items()
    if field in ("prompt", "infill") and isinstance(text, str):
      return field, text
  raise UserError(
    f'{name} must be an object with a text, {{"prompt": "..."}} or {{"infill": "..."}}, got '
    f"{line.strip()!r:.80}."
  )
