"""What drawn text is like, without a reader: statistics of sequences, each with its interval.

One number never suffices: a generative perplexity is lowered by repeating oneself, which entropy,
`repetition` and `self_bleu` show, and by copying, which `copied` shows. Everything here is a ratio
of sums over sequences, resampled sequence by sequence (percentile bootstrap, 95%).
"""

import collections
import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dlm_jax.core.types import Record

Tokens = Sequence[np.ndarray]

RESAMPLES = 1000
LEVEL = 0.95
# Texts of which self-BLEU compares each with all others: the cost is quadratic.
MOST_COMPARED = 256


@dataclass(frozen=True)
class Interval:
  """A statistic and the ends of its 95% interval."""

  value: float
  low: float
  high: float


def interval(
  numerators: ArrayLike,
  denominators: ArrayLike | None = None,
  transform: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Interval:
  """`transform(sum(numerators) / sum(denominators))` over sequences, and its bootstrap interval.

  Args:
    numerators: `[N]`.
    denominators: `[N]`; ones if None, which makes the statistic a mean.
    transform: monotone, such as `np.exp` for a perplexity.
  """
  top = np.asarray(numerators, np.float64)
  count = len(top)
  bottom = np.ones(count) if denominators is None else np.asarray(denominators, np.float64)
  generator = np.random.default_rng(0)
  times = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)  # [R, N]
  totals = times @ bottom
  resampled = (times @ top)[totals > 0] / totals[totals > 0]
  if not bottom.sum():
    return Interval(math.nan, math.nan, math.nan)
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(transform(resampled), (tail, 1 - tail))
  value = transform(top.sum() / bottom.sum())
  return Interval(float(value), float(low), float(high))


def generative_perplexity(nats: np.ndarray, tokens: np.ndarray) -> dict[str, Interval]:
  """Both definitions that the papers use, from a judge's nats and scored tokens `[N]` of each text.

  They are not to be compared with each other.

  Returns:
    `over_tokens`: exp(all nats / all tokens) (the MDLM family). `mean_over_sequences`: the mean of
    exp(nats / tokens) (SEDD), which a few unlikely texts dominate.
  """
  scored = tokens > 0
  each = np.exp(nats[scored] / tokens[scored])
  return {
    "over_tokens": interval(nats, tokens, np.exp),
    "mean_over_sequences": interval(each),
  }


def entropy(sequences: Tokens) -> Interval:
  """Nats of the distribution of tokens within a sequence, averaged over sequences.

  The "entropy" that stands beside generative perplexities (Zheng et al. 2024). It cannot exceed the
  logarithm of the length.
  """
  return interval([_histogram_entropy(tokens) for tokens in sequences])


def _histogram_entropy(tokens: np.ndarray) -> float:
  counts = np.unique(tokens, return_counts=True)[1]
  p = counts / max(counts.sum(), 1)
  return float(-np.sum(p * np.log(p)))


def repetition(sequences: Tokens, n: int) -> Interval:
  """Share of a sequence's n-grams that occurred in it before (Welleck et al. 2020, seq-rep-n)."""
  grams = [ngrams(tokens, n) for tokens in sequences]
  return interval([len(g) - len(set(g)) for g in grams], [len(g) for g in grams])


def distinct(sequences: Tokens, n: int) -> Interval:
  """Different n-grams of all sequences over all their n-grams (Li et al. 2016, distinct-n).

  Falls with the number of sequences: compare like with like. A resample repeats sequences and would
  be biased, so the interval is that of the jackknife: the n-grams lost with a sequence are those
  that it alone has.
  """
  grams = [ngrams(tokens, n) for tokens in sequences]
  holders = collections.Counter(gram for row in grams for gram in set(row))
  total, count = sum(map(len, grams)), len(grams)
  if not total:
    return Interval(math.nan, math.nan, math.nan)
  value = len(holders) / total
  without = np.array(
    [
      (len(holders) - sum(holders[gram] == 1 for gram in set(row))) / max(total - len(row), 1)
      for row in grams
    ]
  )
  error = math.sqrt((count - 1) / count * np.sum((without - without.mean()) ** 2))
  return Interval(value, max(value - 1.96 * error, 0.0), min(value + 1.96 * error, 1.0))


def self_bleu(sequences: Tokens, order: int = 4) -> Interval:
  """Mean BLEU of a sequence against all others (Zhu et al. 2018): 1 where all say the same.

  BLEU: the geometric mean of the clipped precisions of 1..`order`-grams, one added to numerator and
  denominator beyond the first (smoothing 2 of Lin and Och 2004). All lengths count as equal: there
  is no brevity penalty. At most the first `MOST_COMPARED` sequences are compared.
  """
  sequences = sequences[:MOST_COMPARED]
  if len(sequences) < 2:
    return Interval(math.nan, math.nan, math.nan)
  logs = np.zeros(len(sequences))
  for n in range(1, order + 1):
    counts = [collections.Counter(ngrams(tokens, n)) for tokens in sequences]
    most = _two_largest(counts)
    smoothing = int(n > 1)
    for i, own in enumerate(counts):
      clipped = sum(min(c, _of_others(most[gram], c)) for gram, c in own.items())
      precision = (clipped + smoothing) / max(sum(own.values()) + smoothing, 1)
      logs[i] += math.log(max(precision, 1e-9)) / order
  return interval(np.exp(logs))


def _two_largest(counts: Sequence[collections.Counter]) -> dict[tuple, tuple[int, int]]:
  """Of each n-gram its two largest counts in a sequence."""
  largest: dict[tuple, tuple[int, int]] = collections.defaultdict(lambda: (0, 0))
  for counter in counts:
    for gram, count in counter.items():
      _, second, first = sorted((*largest[gram], count))
      largest[gram] = first, second
  return largest


def _of_others(largest: tuple[int, int], own: int) -> int:
  """The largest count in another sequence: the second largest, if the largest may be one's own."""
  first, second = largest
  return second if own == first else first


def copied(sequences: Tokens, training: Iterable[np.ndarray], n: int) -> Interval:
  """Share of the n-grams of the samples that occur in the training set: memorisation.

  Args:
    sequences: the samples.
    training: its tokens in pieces; n-grams across pieces are not seen. Only the n-grams of the
      samples are held in memory, as 64-bit hashes.
    n: tokens of an n-gram.
  """
  hashes = [_hashes(tokens, n) for tokens in sequences]
  wanted = np.unique(np.concatenate(hashes))
  found = np.zeros(len(wanted), bool)
  for piece in training:
    found |= np.isin(wanted, _hashes(piece, n))
  shared = [int(found[np.searchsorted(wanted, row)].sum()) for row in hashes]
  return interval(shared, [len(row) for row in hashes])


def _hashes(tokens: np.ndarray, n: int) -> np.ndarray:
  """A polynomial hash of each n-gram, uint64 `[len(tokens) - n + 1]`, wrapping around."""
  tokens = np.asarray(tokens, np.uint64)
  count = max(len(tokens) - n + 1, 0)
  value = np.zeros(count, np.uint64)
  for i in range(n):
    value = value * np.uint64(0x9E3779B97F4A7C15) + tokens[i : i + count] + np.uint64(1)
    value ^= value >> np.uint64(29)
  return value


def spelled(texts: Sequence[str], vocabulary: set[str]) -> Interval:
  """Share of the words of the samples that are words of `vocabulary`.

  For alphabets of letters and spaces. The first and last word of a text may be cut off by its
  window: they do not count.
  """
  words = [text.split(" ")[1:-1] for text in texts]
  words = [[word for word in row if word] for row in words]
  known = [sum(word in vocabulary for word in row) for row in words]
  return interval(known, [len(row) for row in words])


def ngrams(tokens: np.ndarray, n: int) -> list[tuple[int, ...]]:
  """The n-grams of a sequence, in order."""
  values = np.asarray(tokens).tolist()
  return list(zip(*(values[i:] for i in range(n)), strict=False))


def mauve(texts: Sequence[str], references: Sequence[str]) -> Record:
  """MAUVE (Pillutla et al. 2021) with the package's defaults, where `mauve-text` is installed.

  Returns:
    `value`, or `value` None and the `reason`.
  """
  if importlib.util.find_spec("mauve") is None:
    return {"value": None, "reason": "the package mauve-text is not installed"}
  from mauve import compute_mauve  # noqa: PLC0415  optional, and it brings PyTorch

  scored = compute_mauve(p_text=list(references), q_text=list(texts), verbose=False)
  return {"value": float(scored.mauve)}
