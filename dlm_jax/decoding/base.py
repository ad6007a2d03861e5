"""What a decoder is made of: the rule that commits, the revision that follows, what is decoded.

A decoder of masked models is a product of choices that do not know of each other: a score of every
candidate (`samplers.scores`), a rule for how many of the best are committed, what happens to tokens
after that, the order of positions, and the cache. Rules and revisions are frozen dataclasses of
their own settings, built by `make` of their module; a new module is a new choice.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.core.types import PyTree
from dlm_jax.samplers import scores

RULES = "dlm_jax.decoding.rules"
REVISIONS = "dlm_jax.decoding.revisions"


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Candidates:
  """What one evaluation of the network offers for the W positions of the window.

  Attributes:
    token: the candidate of each position, int32 `[B, W]`.
    likeliest: the likeliest token of each, which the candidate is at temperature 0, int32 `[B, W]`.
    score: how certain it is, float32 `[B, W]`: larger is committed sooner.
    log_probs: what the score is of, float32 `[B, W, V]`.
    here: the token that stands there now, int32 `[B, W]`.
    masked: bool `[B, W]`, the positions that may be committed.
    written: bool `[B, W]`, those that hold a token which is not of the prompt.
    mask_id: the mask.
  """

  token: Array
  likeliest: Array
  score: Array
  log_probs: Array
  here: Array
  masked: Array
  written: Array
  mask_id: int

  @property
  def count(self) -> Array:
    """The masked positions of each row, int32 `[B, 1]`."""
    return jnp.sum(self.masked, axis=-1, keepdims=True)

  def best(self, number: Array) -> Array:
    """The `number` `[B, 1]` masked positions of the highest scores, bool `[B, W]`."""
    return self.masked & (scores.ranks(self.score, self.masked) < number)

  def sorted(self, values: Array, fill: float) -> Array:
    """`values` `[B, W]` of the masked positions from the highest score down, then `fill`."""
    order = jnp.argsort(scores.ranks(self.score, self.masked), axis=-1)
    return jnp.take_along_axis(jnp.where(self.masked, values, fill), order, axis=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class WindowProgress:
  """How far each row is in the window at hand.

  Attributes:
    step: int32 `[B, 1]`, evaluations so far of this window.
    masked_at_first: int32 `[B, 1]`, masked positions when the window was reached.
    after: int32 `[B, 1]`, evaluations since the last mask of the window was gone, this included.
    memory: what the rule carries from step to step, see `Rule.memory`.
    of_revision: likewise, see `Revision.memory`.
  """

  step: Array
  masked_at_first: Array
  after: Array
  memory: PyTree
  of_revision: PyTree


@dataclass(frozen=True, kw_only=True)
class Rule:
  """Which candidates are committed. The fields of a subclass are its settings."""

  @property
  def name(self) -> str:
    """As in a preset."""
    return resolve.name_of(self)

  def memory(self, shape: tuple[int, int], vocab_size: int) -> PyTree:
    """What `WindowProgress.memory` is before the first step of a window of `shape` (B, W)."""
    del shape, vocab_size
    return None

  def adjust(self, logits: Array, memory: PyTree) -> Array:
    """The logits `[B, W, V]` that candidates and scores are made from."""
    del memory
    return logits

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    """The positions bool `[B, W]` that are committed, among the masked ones, and the memory.

    At least one of each row that has masked positions, or none in finitely many steps.
    """
    raise NotImplementedError


class Revised(NamedTuple):
  """A window after a step.

  Attributes:
    tokens: int32 `[B, W]`, the mask where nothing is committed.
    settled: bool `[B, 1]`, whether a row is done if it holds no mask.
    memory: what `WindowProgress.of_revision` is at the next step.
  """

  tokens: Array
  settled: Array
  memory: PyTree = None


@dataclass(frozen=True, kw_only=True)
class Revision:
  """What becomes of tokens when candidates are committed. The default keeps all that is written."""

  @property
  def name(self) -> str:
    """As in a preset."""
    return resolve.name_of(self)

  @property
  def is_final(self) -> bool:
    """Whether what is written is never changed."""
    return True

  @property
  def is_verified(self) -> bool:
    """Whether a causal evaluation judges each window once no mask of it is left.

    `revise` then gets the candidates of that evaluation, and masks what is to be written again.
    """
    return False

  @property
  def has_noise(self) -> bool:
    """Whether the network is given random tokens where nothing is committed, in place of masks."""
    return False

  @property
  def reopens(self) -> bool:
    """Whether the rule chooses among all positions of the window at each step, committed or not."""
    return False

  def memory(self, shape: tuple[int, int]) -> PyTree:
    """What `WindowProgress.of_revision` is before the first step of a window of `shape` (B, W)."""
    del shape
    return None

  def likely(self, memory: PyTree) -> SoftTokens | None:
    """What is mixed into the mask where nothing of the window is committed, `[B, W, k]` with
    weights that sum to at most 1; None is nothing."""
    del memory
    return None

  def heat(self, step: Array) -> Array | None:
    """What the temperature is multiplied by at the steps `step` `[B, 1]`; None is 1."""
    del step
    return None

  def revise(self, candidates: Candidates, committed: Array, progress: WindowProgress) -> Revised:
    """The window after a step.

    Args:
      candidates: of the step.
      committed: bool `[B, W]`, what the rule has chosen.
      progress: of the window before the step.
    """
    tokens = jnp.where(committed, candidates.token, candidates.here)
    return Revised(tokens, jnp.ones_like(progress.step, bool))
