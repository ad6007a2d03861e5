"""The record of an evaluation for a person to read."""

import math

from rich.console import Console
from rich.table import Table

from dlm_jax.core.records import EXACT, SHARE
from dlm_jax.core.types import Record


def show(console: Console, record: Record) -> None:
  """Prints the results."""
  console.print(table(record))
  console.print(
    "{sequences:,} sequences, {tokens:,} tokens, {evaluations} network evaluations a "
    "sequence".format(
      **record["bound"], evaluations=record["protocol"]["network_evaluations_per_sequence"]
    ),
    f"standard error {record['protocol']['standard_error']}",
    sep="\n",
    soft_wrap=True,
    highlight=False,
  )


def table(record: Record) -> Table:
  """The results for a person to read."""
  protocol = record["protocol"]
  text = "zero-shot" if protocol.get("zero_shot") else f"{protocol['split']} split"
  shown = Table(title=f"{text}, step {protocol['step']}, {protocol['weights']} weights")
  value = {EXACT: "exact", SHARE: "share of a bound"}.get(protocol.get("quantity"), "upper bound")
  for column in ("", value, "standard error"):
    shown.add_column(column, justify="left" if not column else "right")
  for unit, estimate in record["results"].items():
    error = estimate["standard_error"]
    # A perplexity can be beyond float64, and its error with it.
    digits = 1 + max(2, -math.floor(math.log10(error if 0 < error < math.inf else 1)))
    cells = (f"{estimate[field]:.{digits}f}" for field in ("value", "standard_error"))
    shown.add_row(unit.replace("_per_", " / "), *cells)
  return shown
