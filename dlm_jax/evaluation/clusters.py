"""Rows that are not independent, and the standard errors that allow for it.

Rows cut from one document are alike, and counted as independent they give a standard error that is
too small. The nats a token of an evaluation are a ratio R = sum_i y_i / sum_i x_i, of the nats y
and the tokens x of its rows. To first order its error is the mean of the residuals
e_i = y_i - R x_i, which are summed over each of G clusters before they are squared:

  var(R) = G / (G - 1)  sum_g (sum_{i in g} e_i)^2  /  (sum_i x_i)^2

This is the variance of a ratio under cluster sampling (Cochran 1977, Sampling Techniques, chapter
9A), the cluster-robust variance (Liang and Zeger 1986; Cameron and Miller 2015) without a
regressor, and that of Miller 2024, "Adding error bars to evals", section 2.2, with the factor for
few clusters. It needs clusters that are nearly independent, whatever goes on inside them. Where
each cluster is one row it is the usual standard error. Of G clusters it is itself known to about
one part in sqrt(2 G).
"""

from dataclasses import dataclass

import numpy as np

# Neighbouring rows of a stream that are one cluster: as long as most documents, or longer.
BLOCK = 64
# Shorter blocks are taken before there are fewer of them: the error of the error is then 18%.
FEWEST = 16


@dataclass(frozen=True)
class Clusters:
  """Which rows belong together.

  Attributes:
    index: int `[N]`, the cluster of each row, 0..G-1.
    description: what the clusters are, in words that follow "standard error".
  """

  index: np.ndarray
  description: str


def of_rows(number: int, *, are_documents: bool) -> Clusters:
  """The clusters of `number` rows in the order of their corpus.

  Where each row is a document the clusters are the documents. Elsewhere a store does not know where
  documents end, and the clusters are blocks of at least `BLOCK` neighbouring rows, or for less than
  `BLOCK * FEWEST` rows `FEWEST` blocks.
  """
  if are_documents:
    return Clusters(np.arange(number), f"over {number} documents, a row each")
  blocks = max(number // BLOCK, min(number, FEWEST))
  index = np.arange(number) * blocks // number
  size = -(-number // blocks)
  what = "rows" if blocks == number else f"blocks of up to {size} neighbouring rows"
  return Clusters(index, f"over {blocks} {what}")


def ratio_error(nats: np.ndarray, tokens: np.ndarray, clusters: np.ndarray) -> float:
  """The standard error of sum(`nats`) / sum(`tokens`), both `[N]`, with the `clusters` `[N]`.

  0 where there is a single cluster, which says nothing of an error.
  """
  residuals = nats - nats.sum() / tokens.sum() * tokens
  _, index = np.unique(clusters, return_inverse=True)
  sums = np.bincount(index, residuals)
  if len(sums) < 2:
    return 0.0
  return float(np.sqrt(np.sum(sums**2) * len(sums) / (len(sums) - 1)) / tokens.sum())
