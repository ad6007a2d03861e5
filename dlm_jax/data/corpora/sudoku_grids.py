"""Grids of Sudokus as arrays: random solutions, and what singles find of many puzzles at once."""

import functools
import random

import numpy as np

# Rows and columns of a box, by the size of the grid.
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
# No puzzle of fewer clues has one solution (9x9: McGuire et al. 2012).
FEWEST_CLUES = {4: 4, 6: 8, 9: 17}


@functools.cache
def units(size: int) -> np.ndarray:
  """The rows, columns and boxes of a grid: which cells each has, float32 `[3 n, n * n]`."""
  height, width = BOXES[size]
  row, column = np.divmod(np.arange(size**2), size)
  box = row // height * (size // width) + column // width
  return np.concatenate([which == np.arange(size)[:, None] for which in (row, column, box)]).astype(
    np.float32
  )


@functools.cache
def _peers(size: int) -> tuple[tuple[int, ...], ...]:
  """The other cells that share a unit with each cell."""
  shared = units(size).T @ units(size) > 0
  np.fill_diagonal(shared, False)
  return tuple(tuple(np.flatnonzero(line).tolist()) for line in shared)


def solution(rng: random.Random, size: int) -> list[int]:
  """A random full grid: the digits 0..n-1 of its n * n cells.

  The cell with the fewest digits left is filled next, with one of them at random.
  """
  peers = _peers(size)
  grid = [-1] * size**2
  left = [(1 << size) - 1] * size**2

  def fill(open_cells: set[int]) -> bool:
    if not open_cells:
      return True
    cell = min(open_cells, key=lambda c: (left[c].bit_count(), c))
    for digit in rng.sample(range(size), size):
      if left[cell] >> digit & 1:
        changed = [p for p in peers[cell] if p in open_cells and left[p] >> digit & 1]
        grid[cell] = digit
        for peer in changed:
          left[peer] &= ~(1 << digit)
        if all(left[peer] for peer in changed) and fill(open_cells - {cell}):
          return True
        for peer in changed:
          left[peer] |= 1 << digit
    return False

  fill(set(range(size**2)))
  return grid


def rounds(solutions: np.ndarray, clues: np.ndarray) -> np.ndarray:
  """In which round singles find each cell, int `[N, n * n]`: 0 for a clue, -1 for never.

  A round finds all cells that have one digit left, or that are the only one left for a digit in a
  row, column or box, and then strikes these digits out of what shares a unit with them.

  Args:
    solutions: digits 0..n-1, int `[N, n * n]`.
    clues: bool `[N, n * n]`.
  """
  size = round(solutions.shape[1] ** 0.5)
  member = units(size)
  shares_unit = (member.T @ member > 0).astype(np.float32)
  truth = solutions[..., None] == np.arange(size)
  found = np.where(clues, 0, -1)
  for number in range(1, solutions.shape[1] + 1):
    solved = truth & (found >= 0)[..., None]
    struck = shares_unit @ solved.astype(np.float32) > 0
    left = (~struck & (found < 0)[..., None]).astype(np.float32)
    is_only_digit = left.sum(axis=-1, keepdims=True) == 1
    is_only_cell = member.T @ (member @ left == 1).astype(np.float32) > 0
    new = (left > 0) & (is_only_digit | is_only_cell)
    if not new.any():
      break
    found[new.any(axis=-1)] = number
  return found
