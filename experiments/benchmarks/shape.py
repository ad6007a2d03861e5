"""What the benchmarks run: a network and a batch."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Shape:
  """The sizes of a network and of its batch.

  Attributes:
    width, heads, depth: D, H and N.
    length, rows: L and B.
    vocab_size: V, without the mask, which is token V.
  """

  width: int
  heads: int
  depth: int
  length: int
  rows: int
  vocab_size: int

  @property
  def cells(self) -> list[str]:
    """All sizes but the heads, for a table with the columns `COLUMNS`."""
    return [str(size) for size in (self.width, self.depth, self.length, self.rows, self.vocab_size)]

  @property
  def arguments(self) -> list[str]:
    """All sizes, for another process."""
    return [str(size) for size in astuple(self)]


COLUMNS = ("width", "depth", "length", "rows", "V")
