"""How far preparing has come, on a terminal."""

from collections.abc import Iterable, Iterator
from typing import Self

from rich import progress
from rich.console import Console


class Progress:
  """A live line while texts pass: how many, of how many characters, for how long.

  How many there will be is not known of a stream. Nothing is shown where there is no terminal.
  """

  def __init__(self, title: str):
    console = Console(stderr=True)
    self._line = progress.Progress(
      progress.SpinnerColumn(),
      progress.TextColumn(f"{title}: {{task.fields[documents]:,}} documents"),
      progress.TextColumn("{task.completed:,.0f} characters"),
      progress.TimeElapsedColumn(),
      console=console,
      transient=True,
      disable=not console.is_terminal,
    )

  def __enter__(self) -> Self:
    self._line.start()
    return self

  def __exit__(self, *exception: object) -> None:
    self._line.stop()

  def watch(self, texts: Iterable[str]) -> Iterator[str]:
    """Passes the texts on."""
    task = self._line.add_task("", total=None, documents=0)
    characters = 0
    for number, text in enumerate(texts, start=1):
      yield text
      characters += len(text)
      self._line.update(task, completed=characters, documents=number)
