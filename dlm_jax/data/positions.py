"""Which positions of a row are noised, and which are scored: half of what a number means.

Papers differ in both, so that each is a field of a config (`data.scored`, `data.padding`) and
stands in the record of every number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dlm_jax.core.errors import require_known

SCORED = ("all", "after_first")
PADDING = ("ignored", "noised_unscored", "scored")


@dataclass(frozen=True)
class ScoredPositions:
  """What is noised and scored of a row.

  Attributes:
    scored: `all` tokens; or those `after_first`: the first one is given, a condition that is
      neither noised nor scored (the autoregressive rows of the papers; BD3-LM).
    padding: `ignored`, which is given and tells a network how long the text is; `noised_unscored`,
      noised and attended like text, and not scored (LM1B unpacked: MDLM, UDLM, Duo); `scored`,
      treated as text (GIDD).
  """

  scored: str = "all"
  padding: str = "ignored"

  def __post_init__(self) -> None:
    require_known("data.scored", self.scored, SCORED)
    require_known("data.padding", self.padding, PADDING)

  def masks(self, shape: tuple[int, ...], lengths: np.ndarray | None) -> dict[str, np.ndarray]:
    """`given` and `unscored`, bool of the shape of tokens, each where a position is so.

    Args:
      shape: `[..., L]`.
      lengths: int `[...]`, tokens that are no padding; None where there is no padding.
    """
    masks: dict[str, np.ndarray] = {}
    if lengths is not None and self.padding != "scored":
      name = "given" if self.padding == "ignored" else "unscored"
      masks[name] = np.arange(shape[-1]) >= np.asarray(lengths)[..., None]
    if self.scored == "after_first":
      first = np.broadcast_to(np.arange(shape[-1]) == 0, shape)
      masks["given"] = masks["given"] | first if "given" in masks else first
    return masks

  def characters_per_token(
    self, counts: Mapping[str, int], length: int, *, begins_with_symbol: bool
  ) -> float:
    """Characters of the scored tokens, over the scored tokens.

    Args:
      counts: `rows`, `tokens` without padding, and `characters` of a split.
      length: of a row.
      begins_with_symbol: whether the first token of a row is no text.
    """
    rows, tokens, characters = counts["rows"], counts["tokens"], float(counts["characters"])
    if self.scored == "after_first" and not begins_with_symbol:
      characters *= (tokens - rows) / tokens
    if self.padding == "scored":
      tokens = rows * length
    if self.scored == "after_first":
      tokens -= rows
    return characters / tokens


# The tokens of text all count, and padding does not.
TEXT = ScoredPositions()
