"""Which positions of a row are noised, and which are scored: half of what a number means.

Papers differ in both, so that each is a field of a config (`data.scored`, `data.padding`) and
stands in the record of every number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dlm_jax.core.errors import require_known

SCORED = ("all", "after_first")
PADDING = ("ignored", "noised_unscored", "scored", "end_learned")
# What padding that is treated as text is called.
LEARNED = ("scored", "end_learned")


@dataclass(frozen=True)
class ScoredPositions:
  """What is noised and scored of a row.

  Attributes:
    scored: `all` tokens; or those `after_first`: the first one is given, a condition that is
      neither noised nor scored (the autoregressive rows of the papers; BD3-LM).
    padding: `ignored`, which is given and tells a network how long the text is; `noised_unscored`,
      noised and attended like text, and not scored (LM1B unpacked: MDLM, UDLM, Duo); `scored`,
      treated as text (GIDD); `end_learned`, the same of rows of prompts and answers, which the end
      symbol fills up: a model learns where an answer ends (LLaDA, section 2.3).
  """

  scored: str = "all"
  padding: str = "ignored"

  def __post_init__(self) -> None:
    require_known("data.scored", self.scored, SCORED)
    require_known("data.padding", self.padding, PADDING)

  def masks(
    self, shape: tuple[int, ...], lengths: np.ndarray | None, prompts: np.ndarray | None = None
  ) -> dict[str, np.ndarray]:
    """`given` and `unscored`, bool of the shape of tokens, each where a position is so.

    Args:
      shape: `[..., L]`.
      lengths: int `[...]`, tokens that are no padding; None where there is no padding.
      prompts: int `[...]`, tokens of the prompt that a row begins with; None where there is none.
    """
    index = np.arange(shape[-1])
    masks: dict[str, np.ndarray] = {}
    given = []
    if lengths is not None and self.padding not in LEARNED:
      padding = index >= np.asarray(lengths)[..., None]
      if self.padding == "ignored":
        given.append(padding)
      else:
        masks["unscored"] = padding
    if prompts is not None:
      given.append(index < np.asarray(prompts)[..., None])
    if self.scored == "after_first":
      given.append(np.broadcast_to(index == 0, shape))
    if given:
      masks["given"] = np.logical_or.reduce(given)
    return masks

  def characters_per_token(
    self, counts: Mapping[str, int], length: int, *, begins_with_symbol: bool
  ) -> float:
    """Characters of the scored tokens, over the scored tokens.

    Args:
      counts: `rows`, `tokens` without padding, and `characters` of a split; of rows that begin with
        a prompt those of the answers, and `prompt_tokens`.
      length: of a row.
      begins_with_symbol: whether the first token of a row is no text.
    """
    rows, tokens, characters = counts["rows"], counts["tokens"], float(counts["characters"])
    prompted = counts.get("prompt_tokens", 0)
    is_first_scored = self.scored == "all" or prompted > 0  # a prompt is given anyway
    if not is_first_scored and not begins_with_symbol:
      characters *= (tokens - rows) / tokens
    if self.padding in LEARNED:
      tokens = rows * length - prompted
    if not is_first_scored:
      tokens -= rows
    return characters / tokens


# The tokens of text all count, and padding does not.
TEXT = ScoredPositions()
