"""Continuations of many prompts, those of one form together, and whether decoding gives an answer.

Prompts of one length with answers of one length go through the network together, in one compiled
loop of `generation.draw`. A continuation follows from the seed and the request alone.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.patterns import Causal
from dlm_jax.core.types import Params
from dlm_jax.distributed import progress
from dlm_jax.distributed.mesh import rows_of_batch
from dlm_jax.distributed.sharding import replicated
from dlm_jax.evaluation import conditional, likelihood
from dlm_jax.evaluation.conditional import ScoringRequest
from dlm_jax.evaluation.journal import Journal
from dlm_jax.generation.draw import draw_batches
from dlm_jax.generation.draw_settings import DrawSettings
from dlm_jax.generation.prompts import Prompt
from dlm_jax.model.denoiser import bound
from dlm_jax.model.model import Model

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Continuation:
  """Which continuation is wanted.

  Attributes:
    prompt: tokens.
    num_tokens: tokens to draw, in as many steps.
    temperature: 0 takes the most likely token at every step.
  """

  prompt: Tokens
  num_tokens: int
  temperature: float = 0.0

  @property
  def form(self) -> tuple[int, int, float]:
    """Continuations of one form are drawn by one program."""
    return len(self.prompt), self.num_tokens, self.temperature


@dataclass(frozen=True)
class Continuer:
  """Draws continuations of a model, and recalls those that were drawn before.

  Attributes:
    model: what draws.
    batch_size: rows at once.
    seed: of the draws.
    journal: where continuations are kept as they come.
  """

  model: Model
  batch_size: int = 128
  seed: int = 0
  journal: Journal = field(default_factory=Journal)

  def __call__(self, wanted: Sequence[Continuation]) -> list[Tokens]:
    """The tokens of each continuation, in the order of `wanted`."""
    done = {
      Continuation(tuple(key["prompt"]), key["num_tokens"], key["temperature"]): tuple(value)
      for key, value in self.journal.read("continue", {"seed": self.seed})
    }
    groups = defaultdict(list)
    for continuation in dict.fromkeys(wanted):
      if continuation not in done:
        groups[continuation.form].append(continuation)
    with progress.Progress("continuing", sum(map(len, groups.values())), "prompts") as shown:
      for form in sorted(groups, reverse=True):
        for continuation, tokens in self._draw(groups[form]):
          done[continuation] = tokens
          shown.advance()
    return [done[continuation] for continuation in wanted]

  def _draw(self, group: Sequence[Continuation]) -> Iterator[tuple[Continuation, Tokens]]:
    """The continuations of one form, as they come."""
    prompted, num_tokens, temperature = group[0].form
    settings = DrawSettings(
      num=len(group),
      steps=num_tokens,
      temperature=temperature,
      batch_size=self.batch_size,
      seed=self.seed,
    )
    tokens = np.array([c.prompt + (0,) * num_tokens for c in group], np.int32)
    prompt = Prompt(tokens, np.arange(tokens.shape[1]) < prompted)
    indices = np.array([ScoringRequest(c.prompt, ()).digest for c in group])
    waiting = iter(group)
    for batch in draw_batches(settings, self.model, prompt, indices):
      for row in batch.tokens[:, prompted:].tolist():
        continuation = next(waiting)
        key = dataclasses.asdict(continuation)
        self.journal.write("continue", {"seed": self.seed}, key, row)
        yield continuation, tuple(row)

  def greedy(self, requests: Sequence[ScoringRequest]) -> list[bool]:
    """Whether greedy decoding of the prompt gives the answer.

    An autoregressive network says it in one evaluation of prompt and answer: whether each token of
    the answer is the most likely one after those before it. Any other model decodes each prompt.
    """
    if isinstance(self.model.process.pattern, Causal):
      return self._most_likely(requests)
    decoded = self([Continuation(r.prompt, len(r.answer)) for r in requests])
    return [tokens == r.answer for tokens, r in zip(decoded, requests, strict=True)]

  def _most_likely(self, requests: Sequence[ScoringRequest]) -> list[bool]:
    done = {ScoringRequest.from_json(key): value for key, value in self.journal.read("greedy", {})}
    rows_of_length = defaultdict(list)
    for request in dict.fromkeys(requests):
      if request not in done:
        rows_of_length[conditional.padded(request.length, self.model.length)].append(request)
    mesh = self.model.mesh
    rows = rows_of_batch(self.batch_size, mesh)
    best = _best_tokens(self.model)
    parts = [
      (length, group[start : start + rows])
      for length, group in sorted(rows_of_length.items(), reverse=True)
      for start in range(0, len(group), rows)
    ]
    for length, part in progress.track(parts, "checking answers"):
      tokens = np.zeros((len(part), length), np.int32)
      for row, request in zip(tokens, part, strict=True):
        row[: request.length] = request.prompt + request.answer
      found = np.asarray(best(self.model.params, likelihood.place(tokens, rows, mesh)))
      for request, row in zip(part, found, strict=False):
        answer = row[len(request.prompt) : request.length]
        done[request] = tuple(answer.tolist()) == request.answer
        self.journal.write("greedy", {}, request.to_json(), done[request])
    return [done[request] for request in requests]


def _best_tokens(model: Model) -> Callable[[Params, Array], Array]:
  """`(params, tokens [B, L]) -> [B, L]`: the most likely token after those to its left."""

  def best(params: Params, tokens: Array) -> Array:
    process, denoise = bound(model.process, model.denoiser(params))
    t = jnp.zeros(tokens.shape[0])
    return jnp.argmax(process.predict(denoise(tokens, t), tokens, t).log_probs, axis=-1)

  return jax.jit(best, out_shardings=replicated(model.mesh))
