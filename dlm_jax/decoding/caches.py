"""Which keys and values a decoder keeps, and which positions a step evaluates anew.

A full pass evaluates all positions, and a step after it those in or near the block at hand, which
read the keys and values of the others as that pass left them. That is exact where no position sees
what changes after it (`block`), and elsewhere an approximation, which the next full pass renews.
"""

from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.core.errors import require_known
from dlm_jax.core.ranges import NonNegativeInt

NAMES = ("none", "block", "sub_block", "prefix", "dual", "vicinity")
# For models whose attention is causal over blocks.
BY_BLOCKS = ("block", "sub_block")


@dataclass(frozen=True, kw_only=True)
class Cache:
  """What is kept.

  Attributes:
    name: `none`, every step is a full pass; `block`, for models that are causal over blocks: the
      blocks before, which is exact; `sub_block`, for the same models, the blocks before, and of the
      block at hand all but the sub-block that is decoded (Fast-dLLM v2, Wu et al. 2025); `prefix`,
      all before the block, so that a step evaluates the block and what follows it; `dual`, all but
      the block (both Fast-dLLM, Wu et al. 2025); `vicinity`, all but the block and its neighbours
      (dInfer, 2025).
    refresh_every: steps from one full pass to the next within a block; 0 is one full pass a block.
      Of `sub_block`, steps from one pass over the block to the next within a sub-block; 0 is one
      at each step up to that which commits the first position of the sub-block. Of no use to `none`
      and `block`.
    neighbours: of `vicinity`, positions on either side of the block.
  """

  name: str = "none"
  refresh_every: NonNegativeInt = 0
  neighbours: NonNegativeInt = 16

  def __post_init__(self) -> None:
    require_known("cache of a decoder", self.name, NAMES)

  def stages(self, blocks: int) -> list[tuple[int, int]]:
    """The parts of the loop over so many blocks: the first block of each, and that after its last.

    With `prefix` a step evaluates all that is left of the answer, which is less in the second half
    of the blocks: the number is static, so that they are a program of their own.
    """
    middle = -(-blocks // 2) if self.name == "prefix" else blocks
    return [(begin, end) for begin, end in ((0, middle), (middle, blocks)) if begin < end]

  @property
  def is_by_blocks(self) -> bool:
    """Whether it keeps the blocks before, for models that are causal over blocks."""
    return self.name in BY_BLOCKS

  def span(self, block: int, left: int) -> tuple[int, int]:
    """The positions that a step evaluates: from so many before the start of the block on, and how
    many, where `left` positions are left of the answer at most."""
    if self.name == "prefix":
      return 0, left
    if self.name == "vicinity":
      return self.neighbours, block + 2 * self.neighbours
    return 0, block


def make(**fields: object) -> Cache:
  """Builds it from its settings. Raises `UserError`."""
  return resolve.build(Cache, fields)
