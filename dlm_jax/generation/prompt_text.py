"""A text with gaps, as a person writes it."""

import re
from collections.abc import Sequence

# What stands for a token to draw in an infilling.
BLANK = "_"
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}

# A text with gaps: None is one token to draw.
Pieces = Sequence[str | None]


def pieces(text: str, blank: str | None = None, *, escapes: bool = False) -> Pieces:
  r"""A text as pieces, with None in the place of each `blank`.

  Args:
    text: as a person writes it.
    blank: what stands for one token to draw; None where nothing does.
    escapes: whether `\n` is a new line, `\t` a tabulator, `\\` a backslash, and a backslash before
      a blank makes it text. Any other backslash is one.
  """
  marks: dict[str, str | None] = dict(_ESCAPES) if escapes else {}
  if blank is not None:
    marks |= {f"\\{blank}": blank, blank: None} if escapes else {blank: None}
  if not marks:
    return [text]
  pattern = "|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True))
  parts = [marks.get(part, part) for part in re.split(f"({pattern})", text)]
  found: list[str | None] = []
  for part in parts:
    if part is None or not found or found[-1] is None:
      found.append(part)
    else:  # joined again: tokens need not end where an escape does
      found[-1] += part
  return [part for part in found if part != ""]
