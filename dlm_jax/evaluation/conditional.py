"""log p(answer | prompt) of many requests: what multiple-choice benchmarks are scored with.

For a bound the times of a request are stratified: with counted masking (LLaDA, Nie et al. 2025,
algorithm 3) n answer tokens are masked in counts spread evenly over 1..n, so that most of the
variance is gone. All draws of all requests of a length go through the network together.

A row is laid out as in training: a network that sees the whole row would see padding, so rows of
different lengths never share a batch, and what a request scores depends neither on its neighbours
nor on the batch size. A causal network sees no padding to its right: its rows are rounded up.
"""

import dataclasses
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Causal
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.core.types import Params
from dlm_jax.distributed.sharding import replicated
from dlm_jax.evaluation import likelihood
from dlm_jax.evaluation.likelihood import BindParams, MonteCarlo, Watch
from dlm_jax.model.denoiser import bound
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.processes.base import Process

# Causal rows are padded to a multiple of this: fewer programs to compile.
_ROUND = 32


@dataclass(frozen=True)
class ScoringRequest:
  """The tokens of a prompt, and those of the answer whose likelihood is wanted."""

  prompt: tuple[int, ...]
  answer: tuple[int, ...]

  @property
  def length(self) -> int:
    return len(self.prompt) + len(self.answer)

  @property
  def digest(self) -> np.uint32:
    """A number that follows from the tokens alone, for random draws."""
    text = json.dumps([self.prompt, self.answer])
    return np.uint32(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))

  def to_json(self) -> list[list[int]]:
    return [list(self.prompt), list(self.answer)]

  @classmethod
  def from_json(cls, value: list[list[int]]) -> "ScoringRequest":
    return cls(*map(tuple, value))


@dataclass(frozen=True)
class Score:
  """log p(answer | prompt), or its lower bound.

  Attributes:
    nats: of log-likelihood, at most 0 up to chance.
    standard_error: of `nats`, from the spread of the draws. Stratification makes the true error
      smaller. 0 where the likelihood is exact.
    draws: network evaluations.
    exact: whether `nats` is the likelihood itself.
  """

  nats: float
  standard_error: float
  draws: int
  exact: bool


@dataclass(frozen=True, kw_only=True)
class ConditionalScoring(MonteCarlo):
  """How requests are scored. The noise of one follows from the seed and the request alone.

  Attributes:
    max_length: of prompt and answer together.
    samples: times and noises a request. Where the likelihood is exact there is one, and for an
      answer of one token too if masking is counted.
  """

  max_length: int
  samples: PositiveInt = 128
  batch_size: PositiveInt = 128


def scorer(
  process: Process, denoiser: BindParams, scoring: ConditionalScoring, watch: Watch = iter
) -> Callable[[Params, Sequence[ScoringRequest]], list[Score]]:
  """Returns `score(params, requests) -> [Score]`, in the order of the requests.

  Args:
    process: absorbing processes are scored with counted masking, whatever they train with.
    denoiser: binds parameters.
    scoring: how the requests are scored.
    watch: wraps the loop over batches.

  Raises:
    UserError: from `score`: a request has no answer or is too long, or its likelihood is not a
      number.
  """
  plan = _Plan(process, scoring.samples, scoring.seed, scoring.max_length)
  nats_of_batch = _compiled(plan, denoiser, scoring)
  settings = {"samples": scoring.samples, "seed": scoring.seed}
  journal = scoring.journal

  def score(params: Params, requests: Sequence[ScoringRequest]) -> list[Score]:
    _check(requests, scoring.max_length)
    done = {
      ScoringRequest.from_json(key): Score(**value)
      for key, value in journal.read("score", settings)
    }
    missing = [request for request in dict.fromkeys(requests) if request not in done]
    nats: dict[ScoringRequest, list[float]] = defaultdict(list)
    for batch in watch(list(_batches(plan, missing, scoring.rows))):
      found = nats_of_batch(params, batch)
      for (request, _), term in zip(batch, found, strict=True):
        nats[request].append(float(term))
        if len(nats[request]) == plan.draws_of(request):
          done[request] = _summarize(nats.pop(request), plan.exact)
          if math.isnan(done[request].nats):
            raise UserError(
              "the likelihood of an answer is not a number with these weights: use those of an "
              "earlier checkpoint."
            )
          journal.write("score", settings, request.to_json(), dataclasses.asdict(done[request]))
    return [done[request] for request in requests]

  return score


# A row of a batch: the request, and its arrays by name.
_Row = tuple[ScoringRequest, dict[str, np.ndarray]]


@dataclass(frozen=True)
class _Plan:
  """Which rows the network sees for a request."""

  process: Process
  samples: int
  seed: int
  max_length: int

  @cached_property
  def counted(self) -> Absorbing | None:
    return _counted(self.process)

  @property
  def exact(self) -> bool:
    return self.process.exact

  def draws_of(self, request: ScoringRequest) -> int:
    """Network evaluations of a request."""
    single = len(request.answer) == 1 and self.counted is not None
    return 1 if self.exact or single else self.samples

  def row_length(self, length: int) -> int:
    """The length of the row of a request of `length` tokens."""
    causal = isinstance(self.process.pattern, Causal)
    return padded(length, self.max_length) if causal else length

  def rows_of(self, request: ScoringRequest) -> Iterator[_Row]:
    """A row for each draw."""
    length = self.row_length(request.length)
    times = _stratified(request, self.draws_of(request), self.seed)
    scales = np.ones_like(times)
    if self.counted is not None:
      times, scales = _counts(self.counted, times, len(request.answer))
    tokens = np.zeros(length, np.int32)
    tokens[: request.length] = request.prompt + request.answer
    position = np.arange(length)
    given = (position < len(request.prompt)) | (position >= request.length)
    for draw, (t, scale) in enumerate(zip(times, scales, strict=True)):
      arrays = {"draw": np.int32(draw), "ids": request.digest, "x": tokens}
      yield request, arrays | {"given": given, "t": t, "scale": scale}


def _batches(plan: _Plan, requests: Sequence[ScoringRequest], size: int) -> Iterator[list[_Row]]:
  """Rows of one length, `size` at a time; the longest first: what does not fit shows early."""
  buckets = defaultdict(list)
  for request in requests:
    buckets[plan.row_length(request.length)].append(request)
  for length in sorted(buckets, reverse=True):
    rows = [row for request in buckets[length] for row in plan.rows_of(request)]
    for start in range(0, len(rows), size):
      yield rows[start : start + size]


def _compiled(
  plan: _Plan, denoiser: BindParams, scoring: ConditionalScoring
) -> Callable[[Params, Sequence[_Row]], np.ndarray]:
  """`(params, rows) -> nats [rows]` in float64, each -log p or a bound on it, times -1."""
  counted = plan.counted

  @partial(jax.jit, out_shardings=None if scoring.mesh is None else replicated(scoring.mesh))
  def nats(
    params: Params, draw: Array, ids: Array, x: Array, given: Array, t: Array, scale: Array
  ) -> Array:
    fold = jax.vmap(jax.random.fold_in)
    keys = fold(fold(jnp.broadcast_to(jax.random.key(scoring.seed), ids.shape), ids), draw + 1)
    learned, denoise = bound(counted or plan.process, denoiser(params))
    terms = learned.nelbo if counted is None else learned.loss
    found = terms(keys, denoise, x, t, given)
    return -scale * jnp.sum(found + plan.process.constants(), axis=-1, where=~given)

  def of_batch(params: Params, batch: Sequence[_Row]) -> np.ndarray:
    arrays = [
      likelihood.place(np.stack([row[name] for _, row in batch]), scoring.rows, scoring.mesh)
      for name in ("draw", "ids", "x", "given", "t", "scale")
    ]
    return np.asarray(nats(params, *arrays), np.float64)[: len(batch)]

  return of_batch


def padded(length: int, most: int) -> int:
  """The length of the row that holds `length` tokens for a causal network, which has `most`."""
  return min(-(-length // _ROUND) * _ROUND, most)


def _counted(process: Process) -> Absorbing | None:
  """Absorbing noise that masks an exact number of tokens, its loss their plain cross-entropy."""
  if not isinstance(process, Absorbing) or process.timesteps is not None:
    return None
  return dataclasses.replace(process, masking="counted", weighting="uniform")


def _counts(counted: Absorbing, times: np.ndarray, free: int) -> tuple[np.ndarray, np.ndarray]:
  """Times at which n = ceil(free t) of `free` tokens are masked, and the weight free / n."""
  masked = np.ceil(free * times.astype(np.float64))
  middle = jnp.asarray((masked - 0.5) / free, jnp.float32)
  return np.asarray(counted.time_of_masked(middle)), (free / masked).astype(np.float32)


def _stratified(request: ScoringRequest, draws: int, seed: int) -> np.ndarray:
  """Times in (0, 1], one in each of `draws` equal strata, of one shared offset (float32)."""
  offset = np.random.default_rng((seed, int(request.digest))).random()
  return (1.0 - (offset + np.arange(draws)) / draws % 1.0).astype(np.float32)


def _summarize(nats: Sequence[float], exact: bool) -> Score:
  count = len(nats)
  error = float(np.std(nats, ddof=1)) / math.sqrt(count) if count > 1 else 0.0
  return Score(float(np.mean(nats)), error, count, exact)


def _check(requests: Sequence[ScoringRequest], max_length: int) -> None:
  for request in requests:
    if not request.answer:
      raise UserError("a request without an answer has no likelihood: give it at least one token.")
    if request.length > max_length:
      raise UserError(
        f"a request has {request.length} tokens and the model's length is {max_length}: shorten "
        "its prompt."
      )
