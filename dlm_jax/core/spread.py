"""A choice of items spread evenly over all."""

import numpy as np


def evenly_spread(total: int, count: int | None) -> np.ndarray:
  """At most `count` indices of 0..total-1, evenly spread, the first and the last among them.

  All indices if `count` is None.
  """
  return np.linspace(0, total - 1, total if count is None else min(count, total)).astype(int)
