"""The table of a record of `decode`."""

from collections.abc import Sequence

from dlm_jax.core.types import Record
from experiments.benchmarks.decode_points import AUTOREGRESSIVE

COLUMNS = (
  "prompt",
  "rows",
  "cache",
  "block",
  "evaluations/s",
  "roofline",
  "bound by",
  "n",
  "tokens/s",
  "n to pass AR",
  "torch",
  "torch_published",
)


def rates(row: Record) -> tuple[float, float]:
  """Evaluations and tokens of all rows, each of a second, of our loop."""
  seconds = row["seconds"]["ours"]
  return row["passes"] / seconds, row["rows"] * row["length"] / seconds


def cells(row: Record, points: Sequence[Record]) -> list[str]:
  """What `COLUMNS` say of a point; a ratio says how many times as long PyTorch takes."""
  evaluations, tokens = rates(row)
  ratios = {name: s / row["seconds"]["ours"] for name, s in row["seconds"].items()}
  pass_at = passing(row, points)
  masked = row["cache"] not in (AUTOREGRESSIVE, "none")
  return [
    str(row["prompt"]),
    str(row["rows"]),
    row["cache"],
    str(row["block"]) if masked else "",
    f"{evaluations:.3g}",
    f"{row['roofline_seconds'] / row['seconds']['ours']:.2f}",
    bound(row),
    str(row["commits"]),
    f"{tokens:.3g}",
    "" if pass_at is None else f"{pass_at:.2f}",
    *(f"{ratios[name]:.2f}" if name in ratios else "" for name in COLUMNS[-2:]),
  ]


def bound(row: Record) -> str:
  """What the roofline of a point is made of, all passes together."""
  limits = row["limits"]
  by_memory = row["bytes"] / limits["bandwidth"] > row["flops"] / limits["flops"]
  return "memory" if by_memory else "compute"


def passing(row: Record, points: Sequence[Record]) -> float | None:
  """The tokens an evaluation commits where diffusion is as fast as the autoregressive model of the
  same prompts and rows; None for that model itself, and where it was not measured."""
  if row["cache"] == AUTOREGRESSIVE:
    return None
  for other in points:
    same = all(other[name] == row[name] for name in ("rows", "prompt", "length"))
    if same and other["cache"] == AUTOREGRESSIVE:
      return rates(other)[1] / row["rows"] / rates(row)[0]
  return None


def table(points: Sequence[Record]) -> str:
  """All points as a table in Markdown."""
  lines = [COLUMNS, ["---"] * len(COLUMNS), *(cells(row, points) for row in points)]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)
