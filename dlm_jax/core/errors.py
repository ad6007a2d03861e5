"""The one exception that a user's mistake raises, and the sentences that many mistakes share."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
  """A mistake in the input: the message names the thing, the value and the way out."""


def nearest(name: str, known: Iterable[str]) -> str:
  """Returns `did you mean 'x'? ` when a known name is spelled nearly so, else nothing."""
  match = get_close_matches(name, list(known), n=1, cutoff=0.5)
  return f"did you mean {match[0]!r}? " if match else ""


def require_known(kind: str, name: object, known: Iterable[str]) -> None:
  """Raises `UserError` unless `name` is one of the `known` names of a `kind` of thing.

  Args:
    kind: what is chosen, such as `network preset` or `optimizer.decay`.
    name: the user's choice.
    known: the choices there are.
  """
  known = list(known)
  if name not in known:
    raise UserError(
      f"there is no {kind} {name!r}: {nearest(str(name), known)}"
      f"The known ones are {', '.join(known)}."
    )
