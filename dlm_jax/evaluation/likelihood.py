"""The bound on -log p of held-out sequences, by Monte Carlo over times and noise.

`evaluator` gives the bound alone; `drawer` all that it is made of, to be read against time
(`by_time`) and against the position in the row (`by_position`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import PositiveInt, Seed
from dlm_jax.core.types import Json, Params
from dlm_jax.distributed.mesh import rows_of_batch
from dlm_jax.distributed.sharding import batch_sharding, replicated
from dlm_jax.evaluation.clusters import of_rows
from dlm_jax.evaluation.estimates import Bound, Draws
from dlm_jax.evaluation.journal import Journal
from dlm_jax.evaluation.probability_flow import ProbabilityFlow
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


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
  """How means over times and noise are estimated, of many rows together.

  Attributes:
    batch_size: rows evaluated at once, rounded up to what the mesh divides. Changes no number.
    samples: times and noises drawn a row.
    seed: of times and noise.
    mesh: what rows are spread over; None for one device.
    journal: where what is found is kept as it comes, so that a stopped evaluation goes on from
      there and nothing is computed twice.
  """

  batch_size: PositiveInt
  samples: PositiveInt = 1
  seed: Seed = 0
  mesh: Mesh | None = None
  journal: Journal = field(default_factory=Journal)

  def __post_init__(self) -> None:
    resolve.require_ranges(self)

  @property
  def rows(self) -> int:
    """Rows of a batch on the mesh."""
    return rows_of_batch(self.batch_size, self.mesh)


@dataclass(frozen=True, kw_only=True)
class Scoring(MonteCarlo):
  """How the bound of held-out rows is estimated.

  Row r of N always sees the times and the noise of (seed, r, N): two evaluations, of two networks
  or at two steps of training, are paired.

  Attributes:
    times: how times are drawn. Only `epsilon` 0 gives a true bound, see also `Quadrature`.
  """

  times: Times | Quadrature = TIMES


# `denoiser(params)` or `denoiser(params, labels)` binds parameters and labels to a network.
BindParams = Callable[..., Denoise]
# `evaluate(params, tokens, given=None, labels=None, clusters=None, unscored=None)`
Evaluate = Callable[..., Bound]
Draw = Callable[..., Draws]
Watch = Callable[[Iterable[int]], Iterable[int]]


def evaluator(
  process: Process | ProbabilityFlow, denoiser: BindParams, scoring: Scoring
) -> Evaluate:
  """`drawer`, for the bound alone: `evaluate(params, tokens, ...) -> Bound`."""
  draw = drawer(process, denoiser, scoring)
  return lambda *arguments: draw(*arguments).bound


def drawer(
  process: Process | ProbabilityFlow, denoiser: BindParams, scoring: Scoring, watch: Watch = iter
) -> Draw:
  """Returns `draw(params, tokens, given, labels, clusters, unscored) -> Draws`, compiled once.

  `tokens` is array-like int `[N, L]` (a memmap will do), `given` bool `[N, L]` or None: positions
  such as padding or a prompt, which are neither noised, scored nor counted, `labels` int32 `[N]` or
  None: with them the bound is on -log p(x | label), `clusters` int `[N]` says which rows are not
  independent, None that they are cut from a stream of text, and `unscored` bool `[N, L]` or None
  says which positions are noised but neither scored nor counted: what is left is no bound of the
  text alone, see `data.positions`.

  Args:
    process: its `nelbo` is what is estimated.
    denoiser: binds parameters: `denoiser(params)` or `denoiser(params, labels)` is a `denoise`.
    scoring: how it is estimated.
    watch: wraps the loop over batches, such as `rich.progress.track`.

  Raises:
    UserError: from `draw`: there are fewer than two rows, or nothing is scored.
  """
  nats_of_batch = _compiled(process, denoiser, scoring)

  def draw(
    params: Params,
    tokens: np.ndarray,
    given: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    unscored: np.ndarray | None = None,
  ) -> Draws:
    num_rows = len(tokens)
    if num_rows < 2:
      raise UserError(f"a bound with a standard error needs at least 2 sequences, got {num_rows}.")
    time_key = jax.random.fold_in(jax.random.key(scoring.seed), 0)
    t, weight = _times(scoring.times, time_key, num_rows, scoring.samples, process)
    settings = {"rows": num_rows, "batch_size": scoring.rows}
    found = {n: _Found.from_json(value) for n, value in scoring.journal.read("bound", settings)}
    for start in watch([n for n in range(0, num_rows, scoring.rows) if n not in found]):
      part = slice(start, min(start + scoring.rows, num_rows))
      batch = _Batch.of(part, tokens, given, labels, unscored)
      found[start] = _Found.of(batch, nats_of_batch(params, batch, t[:, part], weight[:, part]))
      scoring.journal.write("bound", settings, start, found[start].to_json())
    parts = [found[start] for start in sorted(found)]
    nats = np.concatenate([part.nats for part in parts], axis=1)
    scored = np.concatenate([part.scored for part in parts])
    positions = np.sum([part.positions for part in parts], axis=0)
    if clusters is None:
      clusters = of_rows(num_rows, are_documents=False).index
    return Draws(t, weight, nats, scored, clusters, process.constants(), *positions)

  return draw


@dataclass(frozen=True)
class _Batch:
  """Rows that are scored together, as arrays of the host; `rows` are their numbers."""

  rows: np.ndarray
  tokens: np.ndarray
  given: np.ndarray
  labels: np.ndarray | None
  scored: np.ndarray

  @classmethod
  def of(
    cls,
    part: slice,
    tokens: np.ndarray,
    given: np.ndarray | None,
    labels: np.ndarray | None,
    unscored: np.ndarray | None,
  ) -> "_Batch":
    x = np.asarray(tokens[part], np.int32)
    masks = (np.zeros(x.shape, bool) if m is None else m[part] for m in (given, unscored))
    held, left_out = (np.asarray(mask, bool) for mask in masks)
    return cls(
      rows=np.arange(part.start, part.stop),
      tokens=x,
      given=held,
      labels=None if labels is None else labels[part],
      scored=~(held | left_out),
    )


@dataclass(frozen=True)
class _Found:
  """What the rows of a batch contribute to `Draws`.

  Attributes:
    nats: float64 `[K, B]`, summed over positions.
    scored: float64 `[B]`, positions that are scored.
    positions: float64 `[3, L]`, sums over the rows of the mean nats over draws, of their squares,
      and counts; 0 where the process bounds whole rows only.
  """

  nats: np.ndarray
  scored: np.ndarray
  positions: np.ndarray

  @classmethod
  def of(cls, batch: _Batch, nats: np.ndarray) -> "_Found":
    """From the nats `[K, B, L]`, or `[K, B, 1]` of whole rows."""
    scored, sums = batch.scored, np.zeros((3, *batch.scored.shape))
    if nats.shape[1:] == scored.shape:
      nats = np.where(scored, nats, 0.0)
      mean = nats.mean(axis=0)
      sums = np.array([mean, mean**2, scored], np.float64)
    return cls(nats.sum(axis=-1), scored.sum(axis=-1, dtype=np.float64), sums.sum(axis=1))

  def to_json(self) -> dict[str, Json]:
    return {name: array.tolist() for name, array in vars(self).items()}

  @classmethod
  def from_json(cls, value: dict[str, Json]) -> "_Found":
    return cls(**{name: np.array(numbers) for name, numbers in value.items()})


def _compiled(
  process: Process | ProbabilityFlow, denoiser: BindParams, scoring: Scoring
) -> Callable[[Params, _Batch, np.ndarray, np.ndarray], np.ndarray]:
  """`(params, batch, t, weight [K, B]) -> [K, B, L]` nats in float64, a draw after the other."""

  @partial(jax.jit, out_shardings=None if scoring.mesh is None else replicated(scoring.mesh))
  def position_nats(
    params: Params, sample: Array, batch: tuple[Array, ...], t: Array, weight: Array
  ) -> Array:
    rows, x, given, labels = batch
    key = jax.random.fold_in(jax.random.key(scoring.seed), sample)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    denoise = denoiser(params) if labels is None else denoiser(params, labels)
    learned, denoise = bound(process, denoise)
    return weight[:, None] * learned.nelbo(keys, denoise, x, t, given)

  def on_devices(array: np.ndarray | None) -> Array | None:
    return None if array is None else place(array, scoring.rows, scoring.mesh)

  def nats(params: Params, batch: _Batch, t: np.ndarray, weight: np.ndarray) -> np.ndarray:
    arrays = tuple(map(on_devices, (batch.rows, batch.tokens, batch.given, batch.labels)))
    draws = [
      position_nats(params, k + 1, arrays, on_devices(t[k]), on_devices(weight[k]))
      for k in range(len(t))
    ]
    return np.stack(draws).astype(np.float64)[:, : len(batch.rows)]

  return nats


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
