"""A trained model as lm-evaluation-harness sees it. Needs the package `lm_eval`."""

from collections.abc import Collection, Sequence

import jax
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from dlm_jax.core.types import Record
from dlm_jax.evaluation import conditional
from dlm_jax.evaluation.conditional import ConditionalScoring, ScoringRequest
from dlm_jax.evaluation.continuations import Continuation, Continuer
from dlm_jax.evaluation.journal import Journal
from dlm_jax.model.model import Model


class HarnessModel(LM):
  """Scores and continues the texts of the harness's tasks.

  Texts are simplified as the documents of training were (text8: lower case, 27 symbols). A prompt
  that is too long loses its beginning.

  The harness takes with each likelihood a flag: whether greedy decoding gives the continuation. No
  multiple-choice metric reads it, and it costs an evaluation a request (autoregressive) or a whole
  decoding. It is computed for the tasks `greedy_tasks` alone; for all others it is False.
  """

  def __init__(
    self,
    model: Model,
    *,
    samples: int = 128,
    batch_size: int = 128,
    seed: int = 0,
    journal: Journal | None = None,
    greedy_tasks: Collection[str] | None = None,
  ):
    """Wraps a trained model.

    Args:
      model: what is scored.
      samples, batch_size, seed, journal: see `conditional.ConditionalScoring`.
      greedy_tasks: names of the tasks whose metrics read the flag; None is all.
    """
    super().__init__()
    journal = journal or Journal()
    self._model = model
    self._greedy_tasks = greedy_tasks
    self._continue = Continuer(model, batch_size, seed, journal)
    self._score = conditional.scorer(
      model.evaluation_process,
      model.denoiser,
      ConditionalScoring(
        max_length=model.length,
        samples=samples,
        batch_size=batch_size,
        seed=seed,
        mesh=model.mesh,
        journal=journal,
      ),
    )

  @property
  def tokenizer_name(self) -> str:
    return "dlm_jax"

  def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
    """log p(continuation | context) in nats, and whether greedy decoding gives the continuation."""
    texts = [self._request(*instance.args) for instance in requests]
    with jax.set_mesh(self._model.mesh):
      scores = self._score(self._model.params, texts)
      wanted = [r for r, i in zip(texts, requests, strict=True) if self._reads_greedy(i)]
      greedy = dict(zip(wanted, self._continue.greedy(wanted), strict=True))
    return [
      (score.nats, self._reads_greedy(instance) and greedy[text])
      for score, text, instance in zip(scores, texts, requests, strict=True)
    ]

  def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
    """log p(text) in nats, of disjoint windows of the model's length."""
    windows = [self._windows(instance.args[0]) for instance in requests]
    with jax.set_mesh(self._model.mesh):
      scores = iter(self._score(self._model.params, [w for text in windows for w in text]))
    return [sum(next(scores).nats for _ in text) for text in windows]

  def generate_until(self, requests: Sequence[Instance]) -> list[str]:
    """Continuations, cut off before the first of the strings that end them."""
    options = [instance.args[1] for instance in requests]
    wanted = [self._continuation(*instance.args) for instance in requests]
    texts = [
      self._model.tokenizer.decode(np.array(tokens, np.int32)) for tokens in self._continue(wanted)
    ]
    return [_until(text, o.get("until", ())) for text, o in zip(texts, options, strict=True)]

  def _reads_greedy(self, instance: Instance) -> bool:
    return self._greedy_tasks is None or instance.task_name in self._greedy_tasks

  def _encode(self, text: str) -> list[int]:
    return self._model.tokenizer.encode(text, strict=False).tolist()

  def _request(self, context: str, continuation: str) -> ScoringRequest:
    # A space between the two belongs to the continuation, which keeps the prompt's tokens whole.
    context, spaces = context.rstrip(), context[len(context.rstrip()) :]
    prompt = self._encode(context)
    whole = self._encode(context + spaces + continuation)
    answer = whole[len(prompt) :][-self._model.length :]
    room = self._model.length - len(answer)
    return ScoringRequest(tuple(prompt[-room:] if room else ()), tuple(answer))

  def _windows(self, text: str) -> list[ScoringRequest]:
    ids, length = self._encode(text), self._model.length
    return [ScoringRequest((), tuple(ids[i : i + length])) for i in range(0, len(ids), length)]

  def _continuation(self, context: str, options: Record) -> Continuation:
    length = self._model.length
    new = min(int(options.get("max_gen_toks", length // 2)), length - 1)
    prompt = self._encode(context)[-(length - new) :]
    return Continuation(tuple(prompt), new, float(options.get("temperature", 0.0)))


def _until(text: str, ends: Sequence[str]) -> str:
  """The text before the first of `ends`."""
  found = [text.find(end) for end in ends if end in text]
  return text[: min(found, default=len(text))]
