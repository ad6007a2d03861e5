"""A training step and a sampling step, ours beside a plain DiT in PyTorch and in JAX.

  python -m experiments.benchmarks.compare --task=training

Each contender runs in a process of its own on the same shapes, in turns, and the median of the
rounds counts; the ratio says how many times as long it takes as ours. Memory is the most that the
process has held, libraries included, or on a GPU the most of its memory. A CPU computes in float32,
a GPU in bfloat16; shape 4 is for a GPU. PyTorch is optional (`pip install torch`), and only what is
installed runs.
"""

import importlib.util
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

from absl import app, flags
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.shape import COLUMNS, Shape

_TASK = flags.DEFINE_enum("task", "training", ["training", "sampling"], "What is timed.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "How often each contender has its turn.", 1)
_SECONDS = flags.DEFINE_float("seconds", 2.0, "How long a turn is about.")
_CONTENDERS = flags.DEFINE_list(
  "contenders",
  ["ours", "jax_dit", "torch_dit.eager", "torch_dit.compiled"],
  "Who takes part; `ours` comes first.",
)
_SHAPES = flags.DEFINE_list("shapes", ["0", "1", "2", "3"], "Which of the shapes, by number.")

# The papers' network on OpenWebText.
DIT_SMALL = Shape(width=768, heads=12, depth=12, length=1024, rows=32, vocab_size=50257)

TRAINING = (
  Shape(width=128, heads=2, depth=4, length=64, rows=64, vocab_size=27),
  Shape(width=256, heads=4, depth=6, length=256, rows=16, vocab_size=27),
  Shape(width=512, heads=8, depth=6, length=128, rows=32, vocab_size=27),
  Shape(width=256, heads=4, depth=4, length=128, rows=16, vocab_size=32768),
  DIT_SMALL,
)
SAMPLING = (
  Shape(width=128, heads=2, depth=4, length=64, rows=1, vocab_size=27),
  Shape(width=128, heads=2, depth=4, length=64, rows=32, vocab_size=27),
  Shape(width=256, heads=4, depth=6, length=256, rows=1, vocab_size=27),
  Shape(width=256, heads=4, depth=6, length=256, rows=32, vocab_size=27),
  DIT_SMALL,
)


@dataclass
class Contender:
  """A process that takes turns, and what its turns took.

  Attributes:
    name: the module in `peers`, and how it runs.
    process: of `worker`.
    steps: of a turn.
    seconds: of a step, one for each turn.
    memory: MiB that it has held at most.
  """

  name: str
  process: subprocess.Popen
  steps: int = 1
  seconds: list[float] = field(default_factory=list)
  memory: float = 0.0

  def ask(self) -> None:
    """Has it start a turn."""
    print(self.steps, file=self.process.stdin, flush=True)

  def answer(self) -> float:
    """Waits for the turn to end and returns the seconds of a step."""
    answer = self.process.stdout.readline()
    if not answer:
      sys.exit(f"the contender {self.name} ended with exit code {self.process.wait()}.")
    seconds, self.memory = map(float, answer.split())
    return seconds / self.steps

  def turn(self) -> float:
    """A whole turn."""
    self.ask()
    return self.answer()


def start(name: str, shape: Shape) -> Contender:
  """Starts a contender, whose first turn compiles."""
  command = [sys.executable, "-m", "experiments.benchmarks.peers.worker", name, _TASK.value]
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
  contender = Contender(name, subprocess.Popen([*command, *shape.arguments], **pipes))
  contender.ask()
  return contender


def settle(contender: Contender) -> None:
  """Finds how many steps make a turn, once all have compiled."""
  contender.steps = 4
  contender.turn()
  contender.steps = max(int(_SECONDS.value / contender.turn()), 4)
  contender.turn()


def compare(shape: Shape) -> list[Contender]:
  """Every contender after its turns."""
  contenders = [start(name, shape) for name in installed(_CONTENDERS.value)]
  for contender in contenders:
    contender.answer()
  for contender in contenders:
    settle(contender)
  for _ in range(_ROUNDS.value):
    for contender in contenders:
      contender.seconds.append(contender.turn())
  for contender in contenders:
    contender.process.communicate()
  return contenders


def installed(names: list[str]) -> list[str]:
  """The contenders whose library is there."""
  torch = importlib.util.find_spec("torch") is not None
  return [name for name in names if torch or not name.startswith("torch")]


def main(_: list[str]) -> None:
  table = Table(title=_TASK.value)
  for column in (*COLUMNS, "contender", "ms", "fastest", "ratio", "MiB"):
    table.add_column(column, justify="right")
  shapes = TRAINING if _TASK.value == "training" else SAMPLING
  for index in map(int, _SHAPES.value):
    contenders = compare(shapes[index])
    ours = statistics.median(contenders[0].seconds)
    for contender in contenders:
      median = statistics.median(contender.seconds)
      table.add_row(
        *shapes[index].cells,
        contender.name,
        f"{1e3 * median:.2f}",
        f"{1e3 * min(contender.seconds):.2f}",
        f"{median / ours:.2f}",
        f"{contender.memory:,.0f}",
      )
  Console(width=120).print(table)


if __name__ == "__main__":
  app.run(main)
