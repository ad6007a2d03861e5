"""The `config.json` of a checkpoint, read so that no field of it is passed over.

A field that is not read changes the maths, for all that is known: it is an error unless it is one
of those that change nothing in a forward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Json

T = TypeVar("T", int, float, bool, str, dict)

# Of training, of generation, of the library that wrote the file: they change no logits.
NEUTRAL = frozenset(
  {
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "cls_token_id",
    "dtype",
    "eos_token_id",
    "fuse_cross_entropy",
    "initializer_range",
    "max_window_layers",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "unsloth_version",
    "unsloth_fixed",
    "use_cache",
  }
)
_WORDS = {
  int: "a whole number",
  float: "a number",
  bool: "true or false",
  str: "text",
  dict: "an object",
}


@dataclass(frozen=True)
class ConfigFile:
  """The fields of a `config.json`.

  Attributes:
    fields: as they stand there.
    path: of the file, for messages.
    family: whose reading it is, for messages.
  """

  fields: Mapping[str, Json]
  path: str
  family: str
  _read: set[str] = field(default_factory=set, repr=False)

  def integer(self, name: str, default: int | None = None) -> int:
    """The whole number `name`; `default`, if there is one, where it is not there or null."""
    return self._value(name, int, default)

  def number(self, name: str, default: float | None = None) -> float:
    """The number `name`; `default`, if there is one, where it is not there or null."""
    return self._value(name, float, default)

  def flag(self, name: str, default: bool | None = None) -> bool:
    """The truth value `name`; `default`, if there is one, where it is not there or null."""
    return self._value(name, bool, default)

  def text(self, name: str, default: str | None = None) -> str:
    """The text `name`; `default`, if there is one, where it is not there or null."""
    return self._value(name, str, default)

  def section(self, name: str) -> "ConfigFile":
    """The fields below the field `name`; it is to be finished by itself."""
    return ConfigFile(self._value(name, dict, None), f"{self.path}, {name}", self.family)

  def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """The whole numbers of the list `name`; `default` where it is not there or null."""
    self._read.add(name)
    value = self.fields.get(name)
    if value is None:
      return default
    numbers = [n for n in value if isinstance(n, int)] if isinstance(value, list) else None
    if numbers is None or numbers != value:
      raise UserError(f"{self.path} has {name} = {value!r}, which must be a list of whole numbers.")
    return tuple(numbers)

  def mask_id(self) -> int | None:
    """The id of the mask; None where the file does not say it, so that the tokenizer must."""
    return self.integer("mask_token_id") if self.fields.get("mask_token_id") is not None else None

  def require(self, **values: Json | tuple[Json, ...]) -> None:
    """Raises `UserError` where a field is there, not null, and has another value than stated.

    The value of a field is the one that this project computes; a tuple holds several that come to
    the same.
    """
    for name, expected in values.items():
      self._read.add(name)
      known = expected if isinstance(expected, tuple) else (expected,)
      value = self.fields.get(name)
      if value is not None and value not in known:
        raise UserError(
          f"{self.path} has {name} = {value!r}: of {self.family} checkpoints only those with "
          f"{' or '.join(map(repr, known))} can be opened."
        )

  def ignore(self, *names: str) -> None:
    """Passes over fields that change nothing in a forward pass."""
    self._read.update(names)

  def finish(self) -> None:
    """Raises `UserError` where a field is left that nothing has read."""
    known = self._read | NEUTRAL
    left = {k: v for k, v in self.fields.items() if k not in known and v is not None}
    if left:
      listed = ", ".join(f"{name} = {value!r}" for name, value in left.items())
      raise UserError(
        f"{self.path} has fields that are not understood of a {self.family} checkpoint, so that "
        f"its logits may be others than computed here: {listed}. Take out of the file what does "
        "not change them."
      )

  def _value(self, name: str, kind: type[T], default: T | None) -> T:
    self._read.add(name)
    value = self.fields.get(name)
    if value is None:
      if default is None:
        raise UserError(f"{self.path} has no field {name!r}, which a {self.family} checkpoint has.")
      return default
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
      value = float(value)
    if type(value) is not kind:
      raise UserError(f"{self.path} has {name} = {value!r}, which must be {_WORDS[kind]}.")
    return value
