"""What the seeds of a cell of a table say together."""

from collections.abc import Sequence

import numpy as np

from experiments.where_it_pays.lab import Row

# The 97.5 % quantile of Student's t, by degrees of freedom.
_STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306}


def interval(values: Sequence[float]) -> tuple[float, float]:
  """The mean over seeds, and half of its 95 % interval by Student's t; 0 for one seed."""
  array = np.asarray(values, float)
  if len(array) < 2:
    return float(array.mean()), 0.0
  quantile = _STUDENT.get(len(array) - 1, 2.262)
  return float(array.mean()), float(quantile * array.std(ddof=1) / np.sqrt(len(array)))


def number(values: Sequence[float]) -> str:
  """A mean and its interval for a table; one value alone has no interval."""
  mean, half = interval(values)
  return f"{mean:.3f}" if len(values) < 2 else f"{mean:.3f} ± {half:.3f}"


def share(values: Sequence[float]) -> str:
  """A share and its interval for a table, in percent; one value alone has no interval."""
  mean, half = interval(values)
  if len(values) < 2:
    return f"{100 * mean:.1f}"
  return f"{100 * mean:.1f} [{100 * max(mean - half, 0):.0f}, {100 * min(mean + half, 1):.0f}]"


def cells(rows: Sequence[Row], *names: str) -> dict[tuple, list[Row]]:
  """The rows by their values of `names`, in the order in which these come."""
  found: dict[tuple, list[Row]] = {}
  for row in rows:
    found.setdefault(tuple(row.get(name) for name in names), []).append(row)
  return found
