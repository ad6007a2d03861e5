"""Sudokus of 4x4, 6x6 and 9x9 cells, each with one solution.

A row is

  4.3.13.2......2.=4231134224133124

the cells from left to right and downwards, an open one as a dot, and the answer: all cells in the
same order, so that each has a place of its own. Under `order=solver` it is

  4.3.13.2......2.=bdgikmjlnp=2142134314

where the open cells are named between the two (a is the first cell of the grid) and the answer
holds their digits alone, in the order in which a solver finds them (Kim et al. 2025).

Every puzzle is one that singles solve: at each step a cell has one digit left, or a digit has one
cell left in a row, column or box. So its solution is the only one, and there is an order in which
no digit is a guess. A solution with all of its puzzles lies in one split.
"""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.data.corpora import sudoku_grids
from dlm_jax.data.corpora.base import Pair
from dlm_jax.data.corpora.generated import Generated, Puzzle

ORDERS = ("rows", "solver")
# Clues where none are asked for, by the size of the grid.
_CLUES = {4: 6, 6: 14, 9: 36}
# The names of cells.
_NAMES = "".join(c for c in string.ascii_letters + string.punctuation if c not in "=.")
# Solutions that are looked at together, and choices of clues that are tried of each: most of them
# are not solved by singles.
_TOGETHER = 64
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class Sudoku(Generated):
  """Puzzles of random solutions and random cells.

  Attributes:
    size: digits, and cells of a row: 4, 6 or 9.
    clues: cells that are given; None is 6, 14 or 36 by the size.
    order: of the answer: `rows`, or `solver`, that in which singles find the open cells.
  """

  size: PositiveInt = 4
  clues: PositiveInt | None = None
  order: str = "rows"

  def __post_init__(self) -> None:
    require_known("corpus.order", self.order, ORDERS)
    if self.size not in _CLUES:
      raise UserError(f"corpus.size must be 4, 6 or 9, got {self.size}.")
    least = sudoku_grids.FEWEST_CLUES[self.size]
    if not least <= self.given < self.size**2:
      raise UserError(
        f"corpus.clues must lie in {least}..{self.size**2 - 1} for a grid of {self.size}x"
        f"{self.size}: with fewer no puzzle has one solution; got {self.given}."
      )

  @property
  def length(self) -> int:
    """Tokens of a row."""
    cells = self.size**2
    return cells + 1 + (2 * (cells - self.given) + 1 if self.order == "solver" else cells)

  @property
  def given(self) -> int:
    """Clues of a puzzle."""
    return _CLUES[self.size] if self.clues is None else self.clues

  def draw(self) -> Iterator[Puzzle]:
    rng, numbers = random.Random(self.seed), np.random.default_rng(self.seed)
    cells = self.size**2
    while True:
      grids = np.array([sudoku_grids.solution(rng, self.size) for _ in range(_TOGETHER)])
      solutions = np.repeat(grids, _TRIES, axis=0)
      ranks = numbers.permuted(np.tile(np.arange(cells), (len(solutions), 1)), axis=1)
      clues = ranks < self.given
      solved_in = sudoku_grids.rounds(solutions, clues)
      for solution, is_clue, found in zip(solutions, clues, solved_in, strict=True):
        if found.min() >= 0:
          yield self._puzzle(solution, is_clue, found)

  def _puzzle(self, solution: np.ndarray, is_clue: np.ndarray, found: np.ndarray) -> Puzzle:
    digits = [str(digit + 1) for digit in solution]
    prompt = "".join(d if clue else "." for d, clue in zip(digits, is_clue, strict=True)) + "="
    cells = np.arange(len(digits))
    if self.order == "solver":
      # Cells that are found in one round follow each other as in the grid: the sort is stable.
      order = np.argsort(found, kind="stable")
      cells = order[~is_clue[order]]
      prompt += "".join(_NAMES[cell] for cell in cells) + "="
    return Puzzle(Pair(prompt, "".join(digits[cell] for cell in cells)), group="".join(digits))


def make(**fields: object) -> Sudoku:
  return resolve.build(Sudoku, fields)
