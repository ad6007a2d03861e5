"""What all contenders of `compare` run: a network and a batch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
  """A DiT with adaLN on a condition of 128 and rotary positions, and heads of 64.

  Attributes:
    width, depth: D and N.
    length, batch_size: L and B.
    vocab_size: V, without the mask, which is token V.
  """

  width: int
  depth: int
  length: int
  batch_size: int
  vocab_size: int

  @property
  def heads(self) -> int:
    return max(self.width // 64, 1)

  def __str__(self) -> str:
    return f"{self.width} {self.depth} {self.length} {self.batch_size} {self.vocab_size}"


CONDITION = 128
LEARNING_RATE = 3e-4
EMA_DECAY = 0.9999
