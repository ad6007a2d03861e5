"""A trained model as lm-evaluation-harness sees it. Needs the package `lm_eval`."""

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import jax
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Fields
from dlm_jax.distributed import progress
from dlm_jax.evaluation import conditional
from dlm_jax.evaluation.answers import AnswerOptions, Question, answers
from dlm_jax.evaluation.conditional import ConditionalScoring, ScoringRequest
from dlm_jax.evaluation.continuations import Continuer, Tokens
from dlm_jax.evaluation.decoded_answers import DecodedAnswers, HarnessDecoder
from dlm_jax.evaluation.journal import Journal
from dlm_jax.model.model import Model

T = TypeVar("T")

# A text in pieces that are scored one after the other.
Windows: TypeAlias = tuple[ScoringRequest, ...]


class HarnessModel(LM):
  """Scores and continues the texts of the harness's tasks.

  Texts are simplified as the documents of training were (text8: lower case, 27 symbols). A prompt
  that is too long loses its beginning; a continuation that is too long is scored in windows.

  A request that cannot be read, such as one of characters that the model has none of, does not end
  the others: its likelihood is 0 and its answer empty, and `refused` says why.

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
    decoder: HarnessDecoder | None = None,
  ):
    """Wraps a trained model.

    Args:
      model: what is scored.
      samples, batch_size, seed, journal: see `conditional.ConditionalScoring`.
      greedy_tasks: names of the tasks whose metrics read the flag; None is all.
      decoder: what writes answers; None is the sampler of the model, a window after the other.

    Raises:
      UserError: the model cannot do without labels, which requests do not have.
    """
    super().__init__()
    if model.num_labels:
      model.check_unlabelled("the harness")
    journal = journal or Journal()
    self.refused: dict[str, list[str]] = {}
    self._model = model
    self._begin = () if model.begin_id is None else (model.begin_id,)
    self._greedy_tasks = greedy_tasks
    self._continue = Continuer(model, batch_size, seed, journal)
    self._answers: Callable[[Sequence[Question]], list[str]] = (
      partial(answers, continuer=self._continue)
      if decoder is None
      else DecodedAnswers(model, decoder, batch_size, seed, journal)
    )
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
      watch=partial(progress.track, title="scoring"),
    )

  @property
  def tokenizer_name(self) -> str:
    return "dlm_jax"

  def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
    """log p(continuation | context) in nats, and whether greedy decoding gives the continuation."""
    read = self._each(requests, self._windows_of_pair)
    wanted = [
      window
      for windows, instance in zip(read, requests, strict=True)
      for window in windows or ()
      if self._reads_greedy(instance)
    ]
    nats = self._nats(read)
    with jax.set_mesh(self._model.mesh):
      greedy = dict(zip(wanted, self._continue.greedy(wanted), strict=True))
    return [
      (score, windows is not None and all(greedy.get(window, False) for window in windows))
      for score, windows in zip(nats, read, strict=True)
    ]

  def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
    """log p(text) in nats, of disjoint windows of the model's length."""
    return self._nats(self._each(requests, self._windows_of_text))

  def generate_until(self, requests: Sequence[Instance]) -> list[str]:
    """Continuations, cut off before the first of the strings that end them."""
    read = self._each(requests, self._question)
    questions = [question for question in read if question is not None]
    texts = iter(self._answers(questions))
    return ["" if question is None else next(texts) for question in read]

  def _each(self, requests: Sequence[Instance], read: Callable[..., T]) -> list[T | None]:
    """What `read` makes of the arguments of each request; None where it refuses, which is noted."""
    found: list[T | None] = []
    for instance in requests:
      try:
        found.append(read(*instance.args))
      except UserError as error:
        found.append(None)
        self.refused.setdefault(instance.task_name, []).append(str(error))
    return found

  def _nats(self, read: Sequence[Windows | None]) -> list[float]:
    """log p of each request, the sum over its windows; minus infinity where there are none."""
    windows = [window for windows in read for window in windows or ()]
    with jax.set_mesh(self._model.mesh):
      scores = dict(zip(windows, self._score(self._model.params, windows), strict=True))
    return [
      -math.inf if windows is None else sum((scores[window].nats for window in windows), 0.0)
      for windows in read
    ]

  def _reads_greedy(self, instance: Instance) -> bool:
    return self._greedy_tasks is None or instance.task_name in self._greedy_tasks

  def _encode(self, text: str) -> Tokens:
    return tuple(self._model.tokenizer.encode(text, strict=False).tolist())

  def _windows_of_pair(self, context: str, continuation: object, *media: object) -> Windows:
    _refuse(media)
    # A space between the two belongs to the continuation, which keeps the prompt's tokens whole.
    prompt = self._encode(context.rstrip())
    answer = self._encode(f"{context}{continuation}")[len(prompt) :]
    if continuation != "" and not answer:
      raise UserError(f"the tokenizer leaves nothing of the continuation {continuation!r}.")
    return self._windows(self._begin + prompt, answer)

  def _windows_of_text(self, text: str) -> Windows:
    return self._windows(self._begin, self._encode(text))

  def _windows(self, prompt: Tokens, answer: Tokens) -> Windows:
    """The answer in pieces that fit a row; the first comes after as much of the prompt as fits."""
    length = self._model.length
    first = answer[: length - len(self._begin)]
    rest = answer[len(first) :]
    pieces = [rest[start : start + length] for start in range(0, len(rest), length)]
    start = max(len(prompt) + len(first) - length, 0)
    windows = [ScoringRequest(prompt[start:], first)] if first else []
    return (*windows, *(ScoringRequest((), piece) for piece in pieces))

  def _question(self, context: str, options: Fields, *media: object) -> Question:
    _refuse(media)
    prompt = self._begin + self._encode(context)
    if not prompt and isinstance(self._answers, DecodedAnswers):
      raise UserError(f"the tokenizer leaves nothing of the prompt {context!r} to answer.")
    return Question(prompt, AnswerOptions.read(options, self._model.length // 2))


def _refuse(media: Sequence[object]) -> None:
  """Raises `UserError` where a request comes with more than text."""
  if media:
    raise UserError("the model reads text alone, without images or sound.")
