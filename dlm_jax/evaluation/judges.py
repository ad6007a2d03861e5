"""The judges of generative perplexity: an autoregressive model, or one of `transformers`.

A judge maps texts to nats and scored tokens `[N]`, of its own tokens. The first token of a text is
scored by models that run here, which have seen a token before it (a checkpoint of others: the end
of another text), and not by `transformers`.
"""

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.evaluation import conditional, likelihood
from dlm_jax.evaluation.likelihood import Scoring
from dlm_jax.model.model import Model

Judge = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]


def trained_here(model: Model, *, batch_size: int = 64) -> Judge:
  """The judge that is an autoregressive run.

  Args:
    model: of the run.
    batch_size: texts at once.

  Raises:
    UserError: the run's likelihood is only bounded, so that a better bound would look like worse
      text; or it cannot do without labels, which the texts do not have.
  """
  if not model.evaluation_process.exact:
    raise UserError(
      f"the judge is a run of {type(model.process).__name__}, which only bounds a likelihood: "
      "name an autoregressive run."
    )
  if model.num_labels:
    model.check_unlabelled("judging text")
  scoring = Scoring(batch_size=batch_size, mesh=model.mesh)
  draw = likelihood.drawer(model.evaluation_process, model.denoiser, scoring)

  def judge(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    tokens, given = encoded(texts, model.tokenizer.encode, model.length, model.begin_id)
    draws = draw(model.params, tokens, given)
    if not np.all(np.isfinite(draws.nats)):
      raise model.unusable("give a text a likelihood that is not a number")
    return draws.nats[0], draws.scored

  return judge


def encoded(
  texts: Sequence[str], encode: Callable[[str], np.ndarray], length: int, begin: int | None
) -> tuple[np.ndarray, np.ndarray]:
  """Tokens int32 `[N, L]` and what of them is not scored, bool: `begin` and the padding.

  Texts longer than `length` are cut off, and L is at most that: models of others have been made for
  rows far longer than the texts. The padding, to the right of all that a causal network reads, is
  seen by nothing.
  """
  first = 0 if begin is None else 1
  encodings = [encode(text)[: length - first] for text in texts]
  longest = first + max([1, *map(len, encodings)])
  tokens = np.zeros((len(texts), conditional.padded(longest, length)), np.int32)
  given = np.ones(tokens.shape, bool)
  tokens[:, :first] = begin or 0
  for row, known, ids in zip(tokens, given, encodings, strict=True):
    row[first : first + len(ids)] = ids
    known[first : first + len(ids)] = False
  return tokens, given


def of_transformers(name: str) -> Judge:
  """The judge that is a causal model of the `transformers` library: a hub name or a directory.

  One text at a time; its first token is not scored (the models have no begin symbol of their own),
  and what exceeds the model's length is cut off.

  Raises:
    UserError: the library, PyTorch or the model is not there.
  """
  for library in ("transformers", "torch"):
    if importlib.util.find_spec(library) is None:
      raise UserError(
        f"the judge {name!r} needs the package {library}, which is not installed: install it, or "
        "name the workdir of an autoregressive run."
      )
  import torch  # noqa: PLC0415  optional, and large
  import transformers  # noqa: PLC0415

  try:
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    model = transformers.AutoModelForCausalLM.from_pretrained(name).eval()
  except OSError as error:
    raise UserError(
      f"the judge {name!r} cannot be loaded ({error}): name a model of transformers, or the "
      "workdir of an autoregressive run."
    ) from error
  # Not every model has it, and GPT-2 has it under another name, which attributes translate.
  length = getattr(model.config, "max_position_embeddings", None)

  @torch.no_grad()
  def nats_of(text: str) -> tuple[float, int]:
    ids = torch.tensor(tokenizer(text)["input_ids"][:length])
    if len(ids) < 2:
      return 0.0, 0
    log_p = model(ids[None]).logits[0, :-1].float().log_softmax(-1)
    return -float(log_p.gather(-1, ids[1:, None]).sum()), len(ids) - 1

  def judge(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array([nats_of(text) for text in texts], np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]

  return judge
