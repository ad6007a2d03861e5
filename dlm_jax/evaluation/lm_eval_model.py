"""A trained model as lm-evaluation-harness sees it. Needs the package `lm_eval`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from lm_eval.api.model import LM

from dlm_jax.evaluation import conditional
from dlm_jax.evaluation.conditional import Request
from dlm_jax.model.denoiser import bound
from dlm_jax.samplers import ancestral, base, loops
from dlm_jax.samplers.filters import Filters


class HarnessModel(LM):
  """Scores and continues the texts of the harness's tasks.

  Texts are simplified as the documents of training were (text8: lower case, 27 symbols). A prompt
  that is too long loses its beginning.
  """

  def __init__(
    self,
    restored: Any,
    *,
    samples: int = 128,
    batch_size: int = 128,
    seed: int = 0,
    record: Path | None = None,
  ):
    """Wraps a trained model.

    Args:
      restored: an `experiment.Restored`.
      samples, batch_size, seed, record: see `conditional.scorer`.
    """
    super().__init__()
    experiment = restored.experiment
    self._params = restored.params
    self._experiment = experiment
    self._process = experiment.evaluation_process
    self._encode = experiment.store.tokenizer.encode
    self._decode = experiment.store.tokenizer.decode
    self._seed = seed
    self._score = conditional.scorer(
      self._process,
      experiment.denoiser,
      max_length=experiment.length,
      samples=samples,
      batch_size=batch_size,
      seed=seed,
      mesh=experiment.mesh,
      record=record,
      identity=f"{experiment.store.hash} step {restored.step}",
    )
    self._continuations: dict[tuple[int, int, float], Any] = {}

  @property
  def tokenizer_name(self) -> str:
    return "dlm_jax"

  def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
    """log p(continuation | context) in nats, and whether greedy decoding gives the continuation."""
    asked = [self._request(*instance.args) for instance in requests]
    with jax.set_mesh(self._experiment.mesh):
      scores = self._score(self._params, asked)
    return [(s.nats, self._greedy(r)) for s, r in zip(scores, asked, strict=True)]

  def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
    """log p(text) in nats, of disjoint windows of the model's length."""
    windows = [self._windows(instance.args[0]) for instance in requests]
    with jax.set_mesh(self._experiment.mesh):
      scores = iter(self._score(self._params, [w for text in windows for w in text]))
    return [sum(next(scores).nats for _ in text) for text in windows]

  def generate_until(self, requests: Sequence[Any]) -> list[str]:
    """Continuations, cut off before the first of the strings that end them."""
    return [self._continued(*instance.args) for instance in requests]

  def _request(self, context: str, continuation: str) -> Request:
    # A space between the two belongs to the continuation, which keeps the prompt's tokens whole.
    context, spaces = context.rstrip(), context[len(context.rstrip()) :]
    prompt = self._encode(context, strict=False).tolist()
    whole = self._encode(context + spaces + continuation, strict=False).tolist()
    answer = whole[len(prompt) :][-self._experiment.length :]
    room = self._experiment.length - len(answer)
    return Request(tuple(prompt[-room:] if room else ()), tuple(answer))

  def _windows(self, text: str) -> list[Request]:
    ids, length = self._encode(text, strict=False).tolist(), self._experiment.length
    return [Request((), tuple(ids[i : i + length])) for i in range(0, len(ids), length)]

  def _greedy(self, request: Request) -> bool:
    found = self._continue(request.prompt, len(request.answer), temperature=0.0)
    return tuple(found) == request.answer

  def _continued(self, context: str, options: dict[str, Any]) -> str:
    length = self._experiment.length
    new = min(int(options.get("max_gen_toks", length // 2)), length - 1)
    prompt = tuple(self._encode(context, strict=False).tolist()[-(length - new) :])
    temperature = float(options.get("temperature", 0.0))
    text = self._decode(np.array(self._continue(prompt, new, temperature), np.int32))
    ends = [text.find(end) for end in options.get("until", ()) if end in text]
    return text[: min(ends, default=len(text))]

  def _continue(self, prompt: tuple[int, ...], new: int, temperature: float) -> list[int]:
    """`new` tokens after the prompt, in as many steps."""
    shape = (1, len(prompt) + new)
    tokens = np.zeros(shape, np.int32)
    tokens[0, : len(prompt)] = prompt
    loop = self._loop(len(prompt), new, temperature)
    with jax.set_mesh(self._experiment.mesh):
      drawn = loop(self._params, jnp.asarray(tokens), jax.random.key(self._seed))
    return np.asarray(drawn)[0, len(prompt) :].tolist()

  def _loop(self, known: int, new: int, temperature: float) -> Any:
    """The jitted `(params, tokens [1, known + new], key) -> tokens`; compiled once a shape."""
    if (known, new, temperature) not in self._continuations:
      given = np.broadcast_to(np.arange(known + new) < known, (1, known + new))

      def sample(params: Any, tokens: jax.Array, key: jax.Array) -> jax.Array:
        denoise = self._experiment.denoiser(params)
        process, denoise = bound(self._experiment.process, denoise)
        request = base.Request(
          keys=jax.random.split(key, 1),
          length=known + new,
          steps=new,
          tokens=tokens,
          given=given,
          filters=Filters(temperature=temperature),
        )
        return loops.sample(ancestral.make(), process, denoise, request).tokens

      self._continuations[known, new, temperature] = jax.jit(sample)
    return self._continuations[known, new, temperature]
