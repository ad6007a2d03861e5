"""What a person watching a run sees: one live line on a terminal, plain lines elsewhere."""

import math
from collections.abc import Mapping

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressLine:
  """Shows step, loss in bits, tokens/s and the time left; silent but on process 0."""

  def __init__(self, start: int, total: int):
    """Starts the line of a run that goes from step `start` to `total`."""
    self._active = jax.process_index() == 0
    self._total = total
    self._console = Console(highlight=False)
    self._live = None
    if self._active and self._console.is_terminal:
      self._live = Progress(
        TextColumn("step {task.completed}/{task.total}"),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
        console=self._console,
      )
      self._task = self._live.add_task("compiling", total=total, completed=start)
      self._live.start()

  def update(self, step: int, values: Mapping[str, float]) -> None:
    """Shows a row of training metrics."""
    if not self._active:
      return
    bits = values["loss"] / math.log(2)
    text = f"loss {bits:.3f} bits" if math.isfinite(bits) else "loss is not a number"
    text += f"  {values['tokens_per_second']:,.0f} tok/s"
    text += f"  MFU {values['mfu']:.0%}" if "mfu" in values else "  MFU unknown"
    if values["skipped"]:
      text += f"  {values['skipped']:.0f} skipped"
    if self._live is not None:
      self._live.update(self._task, completed=step, description=text)
      return
    left = (self._total - step) * values["seconds_per_step"]
    self._console.print(f"step {step}/{self._total}  {text}  ETA {left:.0f} s")

  def note(self, text: str) -> None:
    """Prints a line of its own above the live one."""
    if self._active:
      self._console.print(text, soft_wrap=True)

  def close(self) -> None:
    if self._live is not None:
      self._live.stop()
