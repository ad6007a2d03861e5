"""The short path: a trained model loaded, sampled and scored in three lines, as from a notebook."""

from collections.abc import Sequence

import jax

from dlm_jax.evaluation import conditional
from dlm_jax.evaluation.conditional import ConditionalScoring, Score, ScoringRequest
from dlm_jax.generation import prompts
from dlm_jax.generation.draw import draw
from dlm_jax.generation.draw_settings import DrawSettings
from dlm_jax.generation.prompt_text import BLANK
from dlm_jax.interop.opening import load
from dlm_jax.model.model import Model

__all__ = ["load", "sample", "score"]


def sample(
  model: Model,
  num: int = 8,
  *,
  prompt: str | None = None,
  infill: str | None = None,
  blank: str = BLANK,
  length: int | None = None,
  **settings: object,
) -> list[str]:
  """Draws `num` texts.

  Args:
    model: of `load`.
    num: how many.
    prompt: text that every one begins with.
    infill: text in which each `blank` is one token to draw.
    blank: what stands for it.
    length: tokens of each; None is the length of training.
    **settings: the others of `DrawSettings`, such as `steps=128` or `top_p=0.9`.

  Raises:
    UserError: the model cannot draw with these settings.
  """
  drawn = draw(
    DrawSettings(num=num, **settings),
    model,
    prompts.read(model, prompts.check_length(model, length), prompt, infill, blank),
  )
  return [model.tokenizer.decode(row) for row in drawn.tokens]


def score(
  model: Model, texts: Sequence[str], *, samples: int = 64, batch_size: int = 64, seed: int = 0
) -> list[Score]:
  """log p(text) of each text, or a lower bound on it, in nats, with its standard error.

  Args:
    model: of `load`.
    texts: each of 1 to `model.length` tokens.
    samples: times and noises a text; one where the likelihood is exact.
    batch_size: rows at once; changes no number.
    seed: of times and noise.

  Raises:
    UserError: a text is empty, too long, or holds characters outside the alphabet.
  """
  begin = () if model.begin_id is None else (model.begin_id,)
  requests = [ScoringRequest(begin, tuple(model.tokenizer.encode(text).tolist())) for text in texts]
  scoring = ConditionalScoring(
    max_length=model.length, samples=samples, batch_size=batch_size, seed=seed, mesh=model.mesh
  )
  with jax.set_mesh(model.mesh):
    found = conditional.scorer(model.evaluation_process, model.denoiser, scoring)
    return found(model.params, requests)
