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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Causal
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.distributed.sharding import replicated
from dlm_jax.evaluation import likelihood
from dlm_jax.model.denoiser import bound
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.processes.base import Denoise, Process

# Causal rows are padded to a multiple of this: fewer programs to compile.
_ROUND = 32


@dataclass(frozen=True)
class Request:
  """Tokens that are known, and those whose likelihood is asked for."""

  prompt: tuple[int, ...]
  answer: tuple[int, ...]

  @property
  def length(self) -> int:
    return len(self.prompt) + len(self.answer)


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


def scorer(
  process: Process,
  denoiser: Callable[[Any], Denoise],
  *,
  max_length: int,
  samples: int = 128,
  batch_size: int = 128,
  seed: int = 0,
  mesh: Mesh | None = None,
  record: Path | None = None,
  identity: str = "",
  watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Callable[[Any, Sequence[Request]], list[Score]]:
  """Returns `score(params, requests) -> [Score]`, in the order of the requests.

  The noise of a request follows from the seed and the request alone.

  Args:
    process: absorbing processes are scored with counted masking, whatever they train with.
    denoiser: binds parameters.
    max_length: of prompt and answer together.
    samples: times and noises a request. Where the likelihood is exact there is one, and for an
      answer of one token too if masking is counted.
    batch_size: rows at once, of any requests and draws.
    seed: of times and noise.
    mesh: what rows are spread over; None for one device.
    record: a JSONL file that scores are added to as they come; those that are there already, of
      the same `identity` and settings, are not computed again. All processes must see it.
    identity: of the weights, such as run and step.
    watch: wraps the loop over batches.

  Raises:
    UserError: from this function: a number is below 1. From `score`: a request has no answer or is
      too long.
  """
  for name, value in {"samples": samples, "batch_size": batch_size}.items():
    if value < 1:
      raise UserError(f"{name} must be at least 1, got {value}.")
  counted = _counted(process)
  exact = process.exact
  causal = isinstance(process.pattern, Causal)
  if mesh is not None:
    batch_size = -(-batch_size // batch_shards(mesh)) * batch_shards(mesh)
  settings = {"identity": identity, "samples": samples, "seed": seed}

  def nats(
    params: Any, draw: Array, ids: Array, x: Array, given: Array, t: Array, scale: Array
  ) -> Array:
    fold = jax.vmap(jax.random.fold_in)
    keys = fold(fold(jnp.broadcast_to(jax.random.key(seed), ids.shape), ids), draw + 1)
    learned, denoise = bound(counted or process, denoiser(params))
    terms = learned.nelbo if counted is None else learned.loss
    found = terms(keys, denoise, x, t, given)
    return -scale * jnp.sum(found + process.constants(), axis=-1, where=~given)

  jitted = jax.jit(nats, out_shardings=None if mesh is None else replicated(mesh))

  def draws_of(request: Request) -> int:
    single = len(request.answer) == 1 and counted is not None
    return 1 if exact or single else samples

  def padded(length: int) -> int:
    return -(-length // _ROUND) * _ROUND if causal else length

  def rows_of(requests: Sequence[Request], length: int) -> Iterator[tuple[Request, dict[str, Any]]]:
    for request in requests:
      times = _stratified(request, draws_of(request), seed)
      scales = np.ones_like(times)
      if counted is not None:
        times, scales = _counts(counted, times, len(request.answer))
      tokens = np.zeros(length, np.int32)
      tokens[: request.length] = request.prompt + request.answer
      position = np.arange(length)
      given = (position < len(request.prompt)) | (position >= request.length)
      for draw, (t, scale) in enumerate(zip(times, scales, strict=True)):
        arrays = {"draw": np.int32(draw), "ids": _digest(request), "x": tokens}
        yield request, arrays | {"given": given, "t": t, "scale": scale}

  def batches(requests: Sequence[Request]) -> Iterator[list[tuple[Request, dict[str, Any]]]]:
    buckets = defaultdict(list)
    for request in requests:
      buckets[padded(request.length)].append(request)
    for length in sorted(buckets, reverse=True):  # the largest first: what does not fit shows early
      rows = list(rows_of(buckets[length], length))
      for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]

  def score(params: Any, requests: Sequence[Request]) -> list[Score]:
    _check(requests, max_length)
    done = _read(record, settings)
    missing = [r for r in dict.fromkeys(requests) if r not in done]
    drawn: dict[Request, list[float]] = defaultdict(list)
    for batch in watch(list(batches(missing))):
      arrays = [
        likelihood.place(np.stack([row[name] for _, row in batch]), batch_size, mesh)
        for name in ("draw", "ids", "x", "given", "t", "scale")
      ]
      found = np.asarray(jitted(params, *arrays), np.float64)[: len(batch)]
      for (request, _), value in zip(batch, found, strict=True):
        drawn[request].append(float(value))
        if len(drawn[request]) == draws_of(request):
          done[request] = _summarize(drawn.pop(request), exact)
          _write(record, settings, request, done[request])
    return [done[request] for request in requests]

  return score


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


def _stratified(request: Request, draws: int, seed: int) -> np.ndarray:
  """Times in (0, 1], one in each of `draws` equal strata, of one shared offset (float32)."""
  offset = np.random.default_rng((seed, int(_digest(request)))).random()
  return (1.0 - (offset + np.arange(draws)) / draws % 1.0).astype(np.float32)


def _digest(request: Request) -> np.uint32:
  text = json.dumps([request.prompt, request.answer])
  return np.uint32(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))


def _summarize(nats: Sequence[float], exact: bool) -> Score:
  count = len(nats)
  error = float(np.std(nats, ddof=1)) / math.sqrt(count) if count > 1 else 0.0
  return Score(float(np.mean(nats)), error, count, exact)


def _check(requests: Sequence[Request], max_length: int) -> None:
  for request in requests:
    if not request.answer:
      raise UserError("a request without an answer has no likelihood: give it at least one token.")
    if request.length > max_length:
      raise UserError(
        f"a request has {request.length} tokens and the model's length is {max_length}: shorten "
        "its prompt."
      )


def _read(record: Path | None, settings: dict[str, Any]) -> dict[Request, Score]:
  """The scores of the record that these settings gave; lines that are cut off are left out."""
  done: dict[Request, Score] = {}
  if record is None or not record.exists():
    return done
  for line in record.read_text(encoding="utf-8").splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      continue
    if row["settings"] == settings:
      request = Request(tuple(row["prompt"]), tuple(row["answer"]))
      done[request] = Score(**row["score"])
  return done


def _write(record: Path | None, settings: dict[str, Any], request: Request, score: Score) -> None:
  if record is None or jax.process_index() != 0:
    return
  row = dataclasses.asdict(request) | {"score": dataclasses.asdict(score), "settings": settings}
  with record.open("a", encoding="utf-8") as file:
    # The newline comes first, so that a line that a crash cut off spoils no other.
    file.write("\n" + json.dumps(row))
