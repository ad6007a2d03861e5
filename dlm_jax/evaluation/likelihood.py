"""The bound on -log p of held-out sequences, by Monte Carlo over times and noise.

`evaluator` gives the bound alone; `drawer` all that it is made of, to be read against time
(`by_time`) and against the position in the row (`by_position`).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from dlm_jax.core.errors import UserError
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.distributed.sharding import batch_sharding, replicated
from dlm_jax.model.denoiser import bound
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.processes.parts.times import Times

# All of (0, 1]: what is estimated is a true bound.
TIMES = Times(sampling="shared_offset", epsilon=0.0)


@dataclass(frozen=True)
class Quadrature:
  """The K times of every row are the nodes of the Gauss-Legendre rule of order K on [0, 1].

  No chance is left in the times. A rule of order K integrates polynomials up to degree 2 K - 1
  exactly; under the linear schedule the absorbing integrand is one of degree L - 1. Elsewhere the
  bound has an error of quadrature, which its standard error does not cover.
  """

  def nodes(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Times in (0, 1) and weights of mean 1, both float32 `[samples]`."""
    t, weight = np.polynomial.legendre.leggauss(samples)
    return ((1 + t) / 2).astype(np.float32), (weight * samples / 2).astype(np.float32)


# How the times of an evaluation are chosen, by the name a command takes.
TIMINGS = {
  "stratified": TIMES,
  "independent": Times(sampling="uniform", epsilon=0.0),
  "quadrature": Quadrature(),
}


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


Evaluate = Callable[..., Bound]
Draw = Callable[..., Draws]


def evaluator(process: Process, denoiser: Callable[[Any], Denoise], **settings: Any) -> Evaluate:
  """`drawer`, for the bound alone: `evaluate(params, tokens, given=None) -> Bound`."""
  draw = drawer(process, denoiser, **settings)
  return lambda *arguments: draw(*arguments).bound


def drawer(
  process: Process,
  denoiser: Callable[[Any], Denoise],
  *,
  batch_size: int,
  samples: int = 1,
  seed: int = 0,
  times: Times | Quadrature = TIMES,
  mesh: Mesh | None = None,
  watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Draw:
  """Returns `draw(params, tokens, given=None, labels=None) -> Draws`, compiled once.

  `tokens` is array-like int `[N, L]` (a memmap will do), `given` bool `[N, L]` or None: positions
  such as padding or a prompt, which are neither noised, scored nor counted, `labels` int32 `[N]` or
  None: with them the bound is on -log p(x | label). Row r always sees the
  times and noise of (seed, r, N): two evaluations, of two networks or at two steps of training,
  are paired, and the batch size does not matter.

  Args:
    process: its `nelbo` is what is estimated.
    denoiser: binds parameters: `denoiser(params)` or `denoiser(params, labels)` is a `denoise`.
    batch_size: rows evaluated at once, rounded up to what the mesh divides.
    samples: times and noises drawn a row.
    seed: of times and noise.
    times: how times are drawn. Only `epsilon` 0 gives a true bound, see also `Quadrature`.
    mesh: what rows are spread over; None for one device.
    watch: wraps the loop over batches, such as `rich.progress.track`.

  Raises:
    UserError: from this function or `draw`: `samples` or `batch_size` is below 1, there are
      fewer than two rows, or nothing is scored.
  """
  for name, value in {"samples": samples, "batch_size": batch_size}.items():
    if value < 1:
      raise UserError(f"{name} must be at least 1, got {value}.")
  if mesh is not None:
    batch_size = -(-batch_size // batch_shards(mesh)) * batch_shards(mesh)

  def position_nats(
    params: Any,
    sample: Array,
    rows: Array,
    x: Array,
    given: Array,
    labels: Array | None,
    t: Array,
    weight: Array,
  ) -> Array:
    key = jax.random.fold_in(jax.random.key(seed), sample)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    denoise = denoiser(params) if labels is None else denoiser(params, labels)
    learned, denoise = bound(process, denoise)
    return weight[:, None] * learned.nelbo(keys, denoise, x, t, given)

  jitted = jax.jit(position_nats, out_shardings=None if mesh is None else replicated(mesh))

  def draw(params: Any, tokens: Any, given: Any = None, labels: Any = None) -> Draws:
    num_rows = len(tokens)
    if num_rows < 2:
      raise UserError(f"a bound with a standard error needs at least 2 sequences, got {num_rows}.")
    time_key = jax.random.fold_in(jax.random.key(seed), 0)
    t, weight = _times(times, time_key, num_rows, samples, process)
    nats, scored = np.zeros((samples, num_rows)), np.zeros(num_rows)
    positions = np.zeros((3, np.shape(tokens)[1]))  # sums of nats, of their squares, and counts
    for start in watch(range(0, num_rows, batch_size)):
      rows = np.arange(start, min(start + batch_size, num_rows))
      part = slice(start, start + len(rows))
      x = np.asarray(tokens[part], np.int32)
      known = np.zeros(x.shape, bool) if given is None else np.asarray(given[part], bool)
      scored[part] = np.sum(~known, axis=-1)
      batch = [place(array, batch_size, mesh) for array in (rows, x, known)]
      batch.append(None if labels is None else place(labels[part], batch_size, mesh))
      drawn = []
      for k in range(samples):
        timed = [place(array[k, part], batch_size, mesh) for array in (t, weight)]
        drawn.append(jitted(params, k + 1, *batch, *timed))
      drawn = np.stack(drawn).astype(np.float64)[:, : len(rows)]  # [K, rows, L]
      nats[:, part] = drawn.sum(axis=-1)
      mean = drawn.mean(axis=0)
      if mean.shape == x.shape:  # a bound on whole rows has no positions
        positions += [mean.sum(axis=0), (mean**2).sum(axis=0), (~known).sum(axis=0)]
    return Draws(t, weight, nats, scored, process.constants(), *positions)

  return draw


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


def _times(
  times: Times | Quadrature, key: Array, rows: int, samples: int, process: Process
) -> tuple[np.ndarray, np.ndarray]:
  """Times and weights `[K, N]`, of low discrepancy over all draws and over those of each row.

  The strata of the evaluation are dealt so that each row gets one from each K-th of the range, and
  the rows in random order, since neighbours in a corpus are alike.
  """
  if isinstance(times, Quadrature):
    t, weight = times.nodes(samples)
    return tuple(np.repeat(array[:, None], rows, axis=1) for array in (t, weight))
  time_key, order_key = jax.random.split(key)
  order = np.asarray(jax.random.permutation(order_key, rows))
  drawn = times.draw(time_key, rows * samples, process)
  t, weight = (np.asarray(a, np.float32).reshape(samples, rows)[:, order] for a in drawn)
  return t, weight


def place(array: np.ndarray, rows: int, mesh: Mesh | None) -> Array:
  """The batch on its devices, each process laying down its own part.

  Copies of the last row fill it up to `rows` rows, so that shapes, once compiled, stay the same.
  """
  array = np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
  if mesh is None:
    return jnp.asarray(array)
  return jax.make_array_from_callback(array.shape, batch_sharding(mesh), lambda i: array[i])
