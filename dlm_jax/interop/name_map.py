"""The name map of a family: one table, which import reads from left to right, export from right.

A line of it says which tensor of the file is which parameter, and how its axes lie there.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dlm_jax.interop import arrangement
from dlm_jax.interop.arrangement import Shape


@dataclass(frozen=True)
class Line:
  """One kind of tensor.

  Attributes:
    theirs: its name in the file. `{}` stands for the number of a layer, a second one for that of an
      expert: all of them are one parameter, with an axis before the others for each.
    ours: the path of the parameter, such as `layers/attention/query`; several paths where the
      tensor holds several parameters one behind the other along its first axis.
    axes: the axes of both, see `arrangement`; empty where they are the same.
    first_layer: the number in the file of the parameter's first layer.
  """

  theirs: str
  ours: str | tuple[str, ...]
  axes: str = ""
  first_layer: int = 0

  @property
  def paths(self) -> tuple[str, ...]:
    """Of its parameters."""
    return (self.ours,) if isinstance(self.ours, str) else self.ours

  @property
  def stacked(self) -> int:
    """How many leading axes of the parameter the tensors of the file do not have."""
    return self.theirs.count("{}")


@dataclass(frozen=True)
class Tensor:
  """One tensor of a file.

  Attributes:
    name: in the file.
    line: of the table.
    index: of the layer and the expert, as far as the line has them.
    shapes: of its part of each parameter.
  """

  name: str
  line: Line
  index: tuple[int, ...]
  shapes: tuple[Shape, ...]

  @property
  def shape(self) -> Shape:
    """In the file."""
    pieces = [self._their_shape(shape) for shape in self.shapes]
    whole = list(pieces[0])
    if len(pieces) > 1:
      whole[0] = sum(piece[0] for piece in pieces)
    return tuple(whole)

  @property
  def slices(self) -> tuple[tuple[slice, ...], ...]:
    """Where in it each parameter lies."""
    if len(self.shapes) == 1:
      return (tuple(slice(0, size) for size in self.shape),)
    sizes = [self._their_shape(shape)[0] for shape in self.shapes]
    ends = itertools.accumulate(sizes)
    others = [slice(0, size) for size in self.shape[1:]]
    return tuple((slice(end - size, end), *others) for size, end in zip(sizes, ends, strict=True))

  def to_ours(self, piece: np.ndarray, which: int) -> np.ndarray:
    """Its part of a parameter, for the `piece` of the tensor that holds it."""
    if not self.line.axes:
      return piece
    return arrangement.parse(self.line.axes).to_ours(piece, self.shapes[which])

  def to_theirs(self, parts: list[np.ndarray]) -> np.ndarray:
    """The tensor that holds these parts of its parameters, the inverse of `to_ours`."""
    if self.line.axes:
      parts = [arrangement.parse(self.line.axes).to_theirs(part) for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

  def _their_shape(self, shape: Shape) -> Shape:
    return arrangement.parse(self.line.axes).their_shape(shape) if self.line.axes else shape


@dataclass(frozen=True, kw_only=True)
class NameMap:
  """All tensors of a family.

  Attributes:
    lines: one for each kind of tensor.
    repeated: tensors that a file may hold once more under another name, as a tied head: the name
      of the copy, and of what it is a copy of. A copy that differs is an error.
    optional_prefix: what the names of all tensors begin with, and in some files none does.
    extras: regular expressions of whole names: buffers that a file may hold and that follow from
      its config.
  """

  lines: tuple[Line, ...]
  repeated: tuple[tuple[str, str], ...] = ()
  optional_prefix: str = ""
  extras: tuple[str, ...] = ()

  def as_in(self, names: Iterable[str]) -> "NameMap":
    """The map without the optional prefix, where none of the `names` in the files has it."""
    prefix = self.optional_prefix
    if any(name.startswith(prefix) for name in names):
      return self
    lines = tuple(replace(line, theirs=line.theirs.removeprefix(prefix)) for line in self.lines)
    repeated = tuple((copy, name.removeprefix(prefix)) for copy, name in self.repeated)
    return replace(self, lines=lines, repeated=repeated)

  def is_extra(self, name: str) -> bool:
    """Whether a tensor of that name is a buffer, which need not be read."""
    return any(re.fullmatch(pattern, name) for pattern in self.extras)

  def tensors(self, shapes: dict[str, Shape]) -> Iterator[Tensor]:
    """All tensors of a file, line by line, for the shape of each parameter by its path.

    Raises:
      ValueError: the lines do not name each parameter once.
    """
    named = [path for line in self.lines for path in line.paths]
    if sorted(named) != sorted(shapes):
      raise ValueError(f"the table names {sorted(named)}, the network has {sorted(shapes)}.")
    for line in self.lines:
      found = [shapes[path] for path in line.paths]
      leading = found[0][: line.stacked]
      own = tuple(shape[line.stacked :] for shape in found)
      for index in itertools.product(*map(range, leading)):
        numbers = (index[0] + line.first_layer, *index[1:]) if index else ()
        yield Tensor(line.theirs.format(*numbers), line, index, own)
