"""Samples and their refinement as text: in colour on a terminal, plain elsewhere."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from dlm_jax.processes.base import Process
from dlm_jax.processes.facets import HasMask

MASK = "·"
MASK_STYLE, GIVEN_STYLE = "dim", "cyan"
# The colour of a token whose probability was at least so much when it was committed.
CERTAINTIES = {0.9: "green", 0.5: "yellow", 0.0: "red"}

_FRAMES = 12
# At most, and one more for the context in which they are decoded.
_TOKENS_OF_A_CHARACTER = 5

Decode = Callable[[np.ndarray], str]


def mask_of(process: Process) -> int | None:
  """The id of the mask, or None for a process without one."""
  return process.mask_id if isinstance(process, HasMask) else None


def state_text(
  tokens: np.ndarray,
  decode: Decode,
  *,
  mask_id: int | None = None,
  given: np.ndarray | None = None,
  previous: np.ndarray | None = None,
  certainty: np.ndarray | None = None,
  revised: np.ndarray | None = None,
) -> Text:
  """One state `[L]` as a text, styled by what each position is.

  Args:
    tokens: int `[L]`, masks among them.
    decode: ids to text; it never sees the mask.
    mask_id: shown as a dim dot; None where the process has no mask.
    given: bool `[L]`, the prompt or known part, in a colour of its own.
    previous: the state shown before; what differs from it is bold.
    certainty: float `[L]`, the probability of each token, see `CERTAINTIES`; NaN where it has none.
    revised: bool `[L]`, positions whose token was changed: underlined.
  """
  masked = np.zeros(len(tokens), bool) if mask_id is None else tokens == mask_id
  styles = np.full(len(tokens), "", object)
  if certainty is not None:
    for least, colour in sorted(CERTAINTIES.items()):
      styles[certainty >= least] = colour
  if previous is not None:
    new = "bold green" if certainty is None else "bold "
    styles[tokens != previous] = new + styles[tokens != previous]
  styles[masked] = MASK_STYLE
  if revised is not None:
    styles[revised] = "underline " + styles[revised]
  if given is not None:
    styles[given] = GIVEN_STYLE
    masked = masked & ~given
  text = Text()
  for is_mask, run in itertools.groupby(range(len(tokens)), key=masked.__getitem__):
    places = list(run)
    if is_mask:
      pieces = [MASK] * len(places)
    elif len(set(styles[places])) == 1:
      pieces = [decode(tokens[places])] + [""] * (len(places) - 1)
    else:
      pieces = token_pieces(tokens[places], decode)
    pairs = zip(pieces, styles[places], strict=True)
    for style, group in itertools.groupby(pairs, key=lambda pair: pair[1]):
      text.append("".join(piece for piece, _ in group), style)
  return text


def token_pieces(tokens: np.ndarray, decode: Decode) -> list[str]:
  """What each of the tokens `[n]` adds to their text.

  A token is decoded behind the one before it, which keeps the space between them where a tokenizer
  leaves out that of a first word; a character of several tokens is added by its last.
  """
  pieces: list[str] = []
  first, before = 0, ""
  for last in range(len(tokens)):
    text = decode(tokens[first : last + 1])
    if text.endswith("\ufffd") and last - first < _TOKENS_OF_A_CHARACTER:
      pieces.append("")
      continue
    pieces.append(text[len(before) :])
    first, before = last, decode(tokens[last : last + 1])
  if pieces and not pieces[-1]:
    pieces[-1] = decode(tokens[first:])[len(before) :]
  return pieces


def print_samples(
  console: Console,
  tokens: np.ndarray,
  decode: Decode,
  *,
  first: int = 0,
  mask_id: int | None = None,
  given: np.ndarray | None = None,
) -> None:
  """Prints the sequences `tokens` `[B, L]`, each under a rule with its number: `first` + 1, ..

  Args:
    console: where.
    decode, mask_id: as of `state_text`.
    tokens: the sequences.
    first: how many were printed before.
    given: bool `[B, L]`; None where nothing is.
  """
  for index, row in enumerate(tokens):
    console.print(Rule(f"sample {first + index + 1}"))
    text = state_text(row, decode, mask_id=mask_id, given=None if given is None else given[index])
    console.print(text, soft_wrap=not console.is_terminal)


def print_trajectory(
  console: Console,
  trajectory: np.ndarray,
  decode: Decode,
  *,
  mask_id: int | None = None,
  given: np.ndarray | None = None,
  certainty: np.ndarray | None = None,
  revised: np.ndarray | None = None,
) -> None:
  """Prints how one sequence was refined: at most 12 of the states `trajectory` `[T + 1, L]`.

  The states are evenly spaced in steps and include the first and last; one that repeats the state
  above it is left out. `certainty` and `revised` are as of `state_text`, for every state.
  """
  previous = None
  for step in chosen_frames(trajectory, _FRAMES):
    state = trajectory[step]
    console.print(Rule(f"step {step} of {len(trajectory) - 1}", style="dim"))
    text = state_text(
      state,
      decode,
      mask_id=mask_id,
      given=given,
      previous=previous,
      certainty=None if certainty is None else certainty[step],
      revised=None if revised is None else revised[step],
    )
    console.print(text, soft_wrap=not console.is_terminal)
    previous = state


def chosen_frames(trajectory: np.ndarray, frames: int) -> Sequence[int]:
  """At most `frames` step numbers, evenly spaced, without states that repeat the one before."""
  steps = np.unique(np.linspace(0, len(trajectory) - 1, frames).round().astype(int))
  pairs = itertools.pairwise(steps)
  changed = [b for a, b in pairs if np.any(trajectory[a] != trajectory[b])]
  return [0, *map(int, changed)]
