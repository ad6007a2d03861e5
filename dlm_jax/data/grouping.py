"""Documents a group at a time, so that few of them are in memory at once."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Document = TypeVar("Document", bound=Sized)


def groups(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
  """Lists of neighbours, each ended by the document with which its length reaches `size`."""
  group: list[Document] = []
  total = 0
  for document in documents:
    group.append(document)
    total += len(document)
    if total >= size:
      yield group
      group, total = [], 0
  if group:
    yield group
