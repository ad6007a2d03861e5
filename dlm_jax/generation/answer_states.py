"""How an answer is written: its state after every step, from what a decoder says of its steps."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from dlm_jax.decoding.steps import Step


@dataclass(frozen=True, kw_only=True)
class AnswerState:
  """An answer of n tokens while it is written.

  Attributes:
    tokens: int32 `[n]`, masks among them.
    certainty: float32 `[n]`, the probability of each token when it was committed; NaN of a mask.
    revised: bool `[n]`, the positions whose token was written over or masked again.
    mask_id: what stands where no token does.
  """

  tokens: np.ndarray
  certainty: np.ndarray
  revised: np.ndarray
  mask_id: int

  @property
  def masked(self) -> np.ndarray:
    """The positions that hold a mask, bool `[n]`."""
    return self.tokens == self.mask_id

  def after(self, step: Step) -> "AnswerState":
    """The state after a step, which is that of its row alone."""
    length = len(self.tokens)
    tokens = np.asarray(step.tokens)[step.answers : step.answers + length]
    places = step.where - step.answers
    inside = (places >= 0) & (places < length)
    certainty = np.full(length, np.nan, np.float32)
    certainty[places[inside]] = step.certainty[inside]
    changed = tokens != self.tokens
    certainty = np.where(changed, certainty, self.certainty)
    return dataclasses.replace(
      self,
      tokens=tokens,
      certainty=np.where(tokens == self.mask_id, np.nan, certainty),
      revised=self.revised | (changed & ~self.masked),
    )


def start(length: int, mask_id: int) -> AnswerState:
  """An answer before its first step."""
  return AnswerState(
    tokens=np.full(length, mask_id, np.int32),
    certainty=np.full(length, np.nan, np.float32),
    revised=np.zeros(length, bool),
    mask_id=mask_id,
  )


def of_row(step: Step, row: int) -> Step:
  """The step of one row: its arrays without their first axis."""
  return jax.tree.map(lambda array: array[row], step)


class FirstAnswer:
  """Keeps the steps of the first answer that is written, and its state before and after each."""

  def __init__(self, start: AnswerState, alternatives: int = 0):
    """Has none yet.

    Args:
      start: an answer before its first step.
      alternatives: how many tokens its steps have for each position.
    """
    self.alternatives = alternatives
    self.states = [start]
    self.steps: list[Step] = []
    self._batches = 0

  def begin(self, batch: Sequence[tuple[int, int]]) -> None:
    """Before a batch; the first answer is that of its first row."""
    del batch
    self._batches += 1

  def tell(self, step: Step) -> None:
    """At every step."""
    if self._batches == 1 and step.active[0]:
      self.steps.append(of_row(step, 0))
      self.states.append(self.states[-1].after(self.steps[-1]))
