"""A bound with its standard error, and the draws of times and noise that it is made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.evaluation.clusters import ratio_error


@dataclass(frozen=True)
class Estimate:
  """A number and the standard error of it."""

  value: float
  standard_error: float

  def scaled(self, factor: float) -> "Estimate":
    return Estimate(self.value * factor, self.standard_error * abs(factor))


@dataclass(frozen=True)
class Bound:
  """An upper bound on the negative log-likelihood.

  Attributes:
    nats_per_token: nats over all sequences, divided by the tokens scored in all sequences.
    standard_error: of `nats_per_token`, from the spread of clusters of sequences, see `clusters`,
      each sequence the mean of its `samples` draws. It covers both which text was held out and the
      draws of times and noise. Times are spread evenly over the evaluation, so with few samples a
      sequence the true error is somewhat smaller.
    sequences: rows evaluated.
    tokens: positions scored: all that are not given.
    samples: times and noises drawn a sequence.
    clusters: groups of sequences that count as independent of each other.
  """

  nats_per_token: float
  standard_error: float
  sequences: int
  tokens: int
  samples: int
  clusters: int

  @property
  def bits_per_token(self) -> Estimate:
    return Estimate(self.nats_per_token, self.standard_error).scaled(1 / math.log(2))

  def bits_per_character(self, characters_per_token: float) -> Estimate:
    return self.bits_per_token.scaled(1 / characters_per_token)

  @property
  def perplexity(self) -> Estimate:
    """exp(nats a token), infinite beyond float64, with the standard error to first order."""
    with np.errstate(over="ignore"):
      perplexity = float(np.exp(self.nats_per_token))
    return Estimate(perplexity, perplexity * self.standard_error)


@dataclass(frozen=True)
class Draws:
  """All that a bound is made of: K times and noises for each of N sequences.

  Attributes:
    t: float32 `[K, N]`, the times.
    weight: float32 `[K, N]`, 1 / density of each.
    nats: float64 `[K, N]`, the weighted integrand summed over a row, without `constant`.
    scored: float64 `[N]`, tokens scored.
    clusters: int `[N]`, the cluster of each, see `clusters`.
    constant: nats a scored token that the bound adds, whatever the network.
    position_nats, position_squares: float64 `[L]`, sums over the sequences of the mean over draws
      of the weighted integrand at a position, and of its square.
    position_counts: float64 `[L]`, sequences in which the position is scored.
  """

  t: np.ndarray
  weight: np.ndarray
  nats: np.ndarray
  scored: np.ndarray
  clusters: np.ndarray
  constant: float
  position_nats: np.ndarray
  position_squares: np.ndarray
  position_counts: np.ndarray

  @property
  def bound(self) -> Bound:
    return summarize(self._nats_of_bound, self.scored, self.clusters)

  @property
  def _nats_of_bound(self) -> np.ndarray:
    """The draws `[K, N]` with what does not depend on the network."""
    return self.nats + self.constant * self.scored

  def by_cluster(self) -> list[dict[str, float]]:
    """`rows`, `tokens` and `nats` of each cluster: what `paired_difference` compares."""
    nats = self._nats_of_bound.mean(axis=0)
    columns = [np.bincount(self.clusters, weight) for weight in (None, self.scored, nats)]
    rows = zip(*columns, strict=True)
    return [{"rows": int(n), "tokens": int(t), "nats": float(y)} for n, t, y in rows]

  def by_time(self, bins: int = 20) -> list[dict[str, float]]:
    """The integrand against time, in equal bins of (0, 1]; one without a draw is left out.

    A bin has `from`, `to`, `draws`, `nats_per_token` (the mean of the integrand, `constant` left
    out), its `standard_error`, which allows for draws of one cluster, and `variance`: of the
    integrand of one draw of one row, in nats a token, squared. With equal lengths the mean over
    bins is the bound less `constant`.
    """
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.ceil(self.t * bins).astype(int) - 1, 0, bins - 1)
    tokens = np.broadcast_to(self.scored, self.t.shape)
    clusters = np.broadcast_to(self.clusters, self.t.shape)
    rows = []
    for b in range(bins):
      inside = (index == b) & (tokens > 0)
      count = int(inside.sum())
      if not count:
        continue
      per_token = self.nats[inside] / self.weight[inside] / tokens[inside]
      variance = float(per_token.var(ddof=1)) if count > 1 else 0.0
      rows.append(
        {
          "from": float(edges[b]),
          "to": float(edges[b + 1]),
          "draws": count,
          "nats_per_token": float(per_token.mean()),
          "standard_error": ratio_error(per_token, np.ones(count), clusters[inside]),
          "variance": variance,
        }
      )
    return rows

  def by_position(self) -> list[dict[str, float]]:
    """Nats of each position of the row, `constant` included, and their standard error.

    The standard error is that of the spread of the sequences, which count as independent here.
    Positions never scored are left out.
    """
    rows = []
    for position in np.flatnonzero(self.position_counts):
      count = self.position_counts[position]
      mean = self.position_nats[position] / count
      spread = max(self.position_squares[position] / count - mean**2, 0.0)
      rows.append(
        {
          "position": int(position),
          "sequences": int(count),
          "nats": float(mean + self.constant),
          "standard_error": math.sqrt(spread / max(count - 1, 1)),
        }
      )
    return rows


def summarize(nats: np.ndarray, scored: np.ndarray, clusters: np.ndarray) -> Bound:
  """The bound from nats of each sample and sequence `[K, N]` and tokens scored `[N]`, in float64.

  Args:
    nats, scored: of the sequences.
    clusters: int `[N]`, the cluster of each sequence, see `clusters`.

  Raises:
    UserError: nothing is scored.
  """
  samples, sequences = nats.shape
  tokens = scored.sum()
  if tokens == 0:
    raise UserError("there is nothing to score: every position is given.")
  row_nats = nats.mean(axis=0)
  error = ratio_error(row_nats, scored, clusters)
  number = len(np.unique(clusters))
  return Bound(float(row_nats.sum() / tokens), error, sequences, int(tokens), samples, number)


# What `Draws.by_cluster` says of an evaluation, as its record keeps it.
ByCluster = Sequence[Mapping[str, float]]


def paired_difference(first: ByCluster, second: ByCluster) -> Estimate | None:
  """Nats a token of `first` less those of `second`; None unless both scored the same rows.

  What is hard for one model is hard for the other: the standard error of the difference, that of
  the differences of the clusters (Miller 2024, section 4.2), is far smaller than that of either.
  """
  sizes = [[(row["rows"], row["tokens"]) for row in rows] for rows in (first, second)]
  if sizes[0] != sizes[1]:
    return None
  nats = np.array([a["nats"] - b["nats"] for a, b in zip(first, second, strict=True)])
  tokens = np.array([row["tokens"] for row in first], float)
  return Estimate(float(nats.sum() / tokens.sum()), ratio_error(nats, tokens, np.arange(len(nats))))
