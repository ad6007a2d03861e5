"""How the axes of one of their tensors become those of ours, and back: `(h k) d -> d h k`.

To the left of the arrow stand the axes of the tensor in the file, to the right those of the
parameter. Axes in parentheses are one axis in the file. No value changes, so that every arrangement
has an inverse.
"""

import functools
import math
import re
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Arrangement:
  """A reversible order of axes.

  Attributes:
    theirs: the names of the axes of a tensor in the file, those that are one axis together.
    ours: the names of the axes of a parameter.
  """

  theirs: tuple[tuple[str, ...], ...]
  ours: tuple[str, ...]

  def their_shape(self, shape: Shape) -> Shape:
    """The shape in the file of a parameter of `shape`."""
    sizes = dict(zip(self.ours, shape, strict=True))
    return tuple(math.prod(sizes[axis] for axis in group) for group in self.theirs)

  def to_ours(self, tensor: np.ndarray, shape: Shape) -> np.ndarray:
    """The parameter of `shape` that a tensor of the file is; a view where numpy has one."""
    sizes = dict(zip(self.ours, shape, strict=True))
    split = tensor.reshape([sizes[axis] for axis in self._order])
    return split.transpose([self._order.index(axis) for axis in self.ours])

  def to_theirs(self, parameter: np.ndarray) -> np.ndarray:
    """The tensor of the file that a parameter is, the inverse of `to_ours`."""
    turned = parameter.transpose([self.ours.index(axis) for axis in self._order])
    return turned.reshape(self.their_shape(parameter.shape))

  @property
  def _order(self) -> list[str]:
    return [axis for group in self.theirs for axis in group]


@functools.cache
def parse(text: str) -> Arrangement:
  """The arrangement that a text such as `(h k) d -> d h k` writes."""
  left, _, right = text.partition("->")
  groups = re.findall(r"\(([^)]*)\)|(\S+)", left)
  theirs = tuple(tuple((inside or alone).split()) for inside, alone in groups)
  ours = tuple(right.split())
  if sorted(ours) != sorted(axis for group in theirs for axis in group):
    raise ValueError(f"the arrangement {text!r} does not have the same axes on both sides.")
  return Arrangement(theirs, ours)
