"""The chat template of a checkpoint: messages as the text that its model was trained on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dlm_jax.core.errors import UserError
from dlm_jax.core.json_files import read_object
from dlm_jax.core.types import Json, Record

FILE, SETTINGS = "chat_template.jinja", "tokenizer_config.json"

# One of a chat: its `role` and its `content`.
Message = dict[str, str]


@dataclass(frozen=True)
class ChatTemplate:
  """A template in the language of Jinja.

  Attributes:
    text: of the template.
    symbols: what it may print beside the messages, such as `bos_token`.
    path: where it is from, for messages.
  """

  text: str
  symbols: dict[str, str]
  path: str

  def render(self, messages: Sequence[Message]) -> str:
    """The text of the chat, up to where the answer begins.

    Raises:
      UserError: Jinja is not installed, the template refuses the messages, or is none.
    """
    try:
      import jinja2.sandbox  # noqa: PLC0415  optional
    except ModuleNotFoundError:
      raise UserError(
        "chat templates need Jinja: pip install 'dlm_jax[chat]', or give text without --chat."
      ) from None

    def raise_exception(message: str) -> NoReturn:
      raise jinja2.TemplateError(message)

    sandbox = jinja2.sandbox.ImmutableSandboxedEnvironment(
      trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    sandbox.globals["raise_exception"] = raise_exception
    fields: Record = {"messages": list(messages), "add_generation_prompt": True, **self.symbols}
    try:
      return sandbox.from_string(self.text).render(**fields)
    except (jinja2.TemplateError, TypeError) as error:
      raise UserError(f"the chat template of {self.path} refuses the messages: {error}.") from error


def read(directory: Path) -> ChatTemplate:
  """The template of the checkpoint in a directory.

  Raises:
    UserError: it has none.
  """
  settings, file = directory / SETTINGS, directory / FILE
  fields = read_object(settings, way_out="Fetch it again.") if settings.is_file() else {}
  text = file.read_text(encoding="utf-8") if file.is_file() else fields.get("chat_template")
  if isinstance(text, list):  # several by name
    named = {entry["name"]: entry["template"] for entry in text}
    text = named.get("default")
  if not isinstance(text, str):
    raise UserError(
      f"{directory} has no chat template ({FILE}, or chat_template in {SETTINGS}): give the text "
      "as the model is to see it, without --chat."
    )
  symbols = {name: _symbol(fields.get(name)) for name in ("bos_token", "eos_token")}
  return ChatTemplate(text, {k: v for k, v in symbols.items() if v is not None}, str(directory))


def _symbol(value: Json) -> str | None:
  value = value.get("content") if isinstance(value, dict) else value
  return value if isinstance(value, str) else None
