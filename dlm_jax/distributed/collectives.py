"""What a compiled program sends between devices, read from its text."""

import math
import re
from dataclasses import dataclass

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_INSTRUCTION = re.compile(rf" = (\S.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
  """One collective of a program.

  Attributes:
    kind: of `KINDS`.
    dtype, shape: of the largest array it makes on a device.
  """

  kind: str
  dtype: str
  shape: tuple[int, ...]

  @property
  def bytes(self) -> int:
    return BYTES[self.dtype] * math.prod(self.shape)


def collectives(text: str) -> list[Collective]:
  """The collectives of a compiled program, each once however often a loop runs it.

  Args:
    text: `Compiled.as_text()`.
  """
  found = []
  for result, kind, _ in _INSTRUCTION.findall(text):
    arrays = [
      Collective(kind, dtype, tuple(int(size) for size in sizes.split(",") if size))
      for dtype, sizes in _ARRAY.findall(result)
    ]
    found.append(max(arrays, key=lambda array: array.bytes))
  return found
