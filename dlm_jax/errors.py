"""The one exception that a user's mistake raises, and how a command reports it."""

import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from absl import flags, logging


class UserError(ValueError):
  """A mistake in the input: the message names the thing, the value and the way out."""


def nearest(name: str, known: Iterable[str]) -> str:
  """Returns `did you mean 'x'? ` when a known name is spelled nearly so, else nothing."""
  match = get_close_matches(name, list(known), n=1, cutoff=0.5)
  return f"did you mean {match[0]!r}? " if match else ""


def report_user_errors(
  main: Callable[[list[str]], int | None],
) -> Callable[[list[str]], int | None]:
  """Wraps a command's `main` so that a `UserError` ends it with one sentence and exit code 2.

  Libraries are heard from warnings on, unless `--verbosity` asks for more.
  """

  def wrapped(argv: list[str]) -> int | None:
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)
    try:
      return main(argv)
    except UserError as error:
      print(f"error: {error}", file=sys.stderr)
      return 2

  return wrapped
