"""A bound with its standard error, and the draws of times and noise that it is made of."""

import math
from dataclasses import dataclass

import numpy as np

from dlm_jax.core.errors import UserError


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
    standard_error: of `nats_per_token`, from the spread of the sequences, each the mean of its
      `samples` draws. It covers both which sequences were held out and the draws of times and
      noise. Sequences count as independent. Times are spread evenly over the evaluation, so with
      few samples a sequence the true error is somewhat smaller.
    sequences: rows evaluated.
    tokens: positions scored: all that are not given.
    samples: times and noises drawn a sequence.
  """

  nats_per_token: float
  standard_error: float
  sequences: int
  tokens: int
  samples: int

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
    constant: nats a scored token that the bound adds, whatever the network.
    position_nats, position_squares: float64 `[L]`, sums over the sequences of the mean over draws
      of the weighted integrand at a position, and of its square.
    position_counts: float64 `[L]`, sequences in which the position is scored.
  """

  t: np.ndarray
  weight: np.ndarray
  nats: np.ndarray
  scored: np.ndarray
  constant: float
  position_nats: np.ndarray
  position_squares: np.ndarray
  position_counts: np.ndarray

  @property
  def bound(self) -> Bound:
    return summarize(self.nats + self.constant * self.scored, self.scored)

  def by_time(self, bins: int = 20) -> list[dict[str, float]]:
    """The integrand against time, in equal bins of (0, 1]; one without a draw is left out.

    A bin has `from`, `to`, `draws`, `nats_per_token` (the mean of the integrand, `constant` left
    out), its `standard_error` and `variance`: of the integrand of one draw of one row, in nats a
    token, squared. With equal lengths the mean over bins is the bound less `constant`.
    """
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.ceil(self.t * bins).astype(int) - 1, 0, bins - 1)
    tokens = np.broadcast_to(self.scored, self.t.shape)
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
          "standard_error": math.sqrt(variance / count),
          "variance": variance,
        }
      )
    return rows

  def by_position(self) -> list[dict[str, float]]:
    """Nats of each position of the row, `constant` included, and their standard error.

    The standard error is that of the spread of the sequences. Positions never scored are left out.
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


def summarize(nats: np.ndarray, scored: np.ndarray) -> Bound:
  """The bound from nats of each sample and sequence `[K, N]` and tokens scored `[N]`, in float64.

  The mean a token is a ratio of sums; its standard error is that of the residuals
  nats - ratio * tokens, which for equal lengths is the standard error of the mean over sequences.

  Raises:
    UserError: nothing is scored.
  """
  samples, sequences = nats.shape
  tokens = scored.sum()
  if tokens == 0:
    raise UserError("there is nothing to score: every position is given.")
  row_nats = nats.mean(axis=0)
  ratio = row_nats.sum() / tokens
  variance = np.sum((row_nats - ratio * scored) ** 2) * sequences / (sequences - 1)
  return Bound(float(ratio), float(np.sqrt(variance) / tokens), sequences, int(tokens), samples)
