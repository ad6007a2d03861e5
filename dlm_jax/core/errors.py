"""The one exception that a user's mistake raises."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
  """A mistake in the input: the message names the thing, the value and the way out."""


def nearest(name: str, known: Iterable[str]) -> str:
  """Returns `did you mean 'x'? ` when a known name is spelled nearly so, else nothing."""
  match = get_close_matches(name, list(known), n=1, cutoff=0.5)
  return f"did you mean {match[0]!r}? " if match else ""
