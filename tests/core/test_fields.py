"""Text of the command line is read as the type of its field."""

from dataclasses import dataclass, field

import pytest

from dlm_jax.core import fields, resolve
from dlm_jax.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Base:
  """A part.

  Attributes:
    size: how large it is,
      in steps.
    low, high: the ends.
  """

  size: int
  low: float = 0.0
  high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Part(Base):
  """A derived part.

  Attributes:
    low: another end, of one more
      line.
  """

  flags: tuple[str, ...] = ()
  ends: tuple[float, float] | None = None
  on: bool = False
  more: dict = field(default_factory=dict)
  learned: object = resolve.runtime()


PART = fields.of_dataclass(Part)


@pytest.mark.parametrize(
  ("name", "text", "value"),
  [
    ("size", "1e3", 1000),
    ("size", "2147483647", 2147483647),
    ("low", "1e-3", 1e-3),
    ("on", "False", False),
    ("on", "yes", True),
    ("flags", "a,b", ("a", "b")),
    ("flags", "a", ("a",)),
    ("ends", "(0.3, 0.8)", (0.3, 0.8)),
    ("ends", [0, 1], (0, 1)),
    ("ends", "none", None),
    ("more", "{'a': 1}", {"a": 1}),
  ],
)
def test_read(name, text, value):
  assert PART[name].read(text, "part") == value


@pytest.mark.parametrize(
  ("name", "value", "must_be"),
  [
    ("size", "1.5", "a whole number"),
    ("size", True, "a whole number"),
    ("size", "none", "a whole number"),
    ("low", "x", "a number"),
    ("on", 2, "true or false"),
    ("ends", "0.3", "2 values such as 0.3,0.8 or none"),
  ],
)
def test_another_type_is_refused(name, value, must_be):
  with pytest.raises(UserError, match=rf"part.{name} must be {must_be}, got"):
    PART[name].read(value, f"part.{name}")


def test_fields_have_defaults_and_meanings_from_the_docstrings_of_all_ancestors():
  assert list(PART) == ["size", "low", "high", "flags", "ends", "on", "more"]
  assert PART["size"].default is fields.Required and PART["more"].default == {}
  meanings = {name: PART[name].meaning for name in ("size", "low", "high")}
  assert meanings == {
    "size": "how large it is, in steps.",
    "low": "another end, of one more line.",
    "high": "the ends.",
  }
