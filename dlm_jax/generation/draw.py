"""How text is drawn from a model: by every command, by the judge and by lm-evaluation-harness.

The whole generation of a batch is one compiled program. What sequence i holds follows from the seed
and from i alone: neither the batch size nor the number of devices changes it.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.fields import Modules, require_field
from dlm_jax.core.types import Params
from dlm_jax.distributed.mesh import rows_of_batch
from dlm_jax.distributed.sharding import batch_sharding, replicated
from dlm_jax.generation import prompts
from dlm_jax.generation.draw_settings import DrawSettings
from dlm_jax.generation.prompts import Prompt
from dlm_jax.model.denoiser import bound
from dlm_jax.model.model import Model
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import guidance, loops
from dlm_jax.samplers.base import PACKAGE, Request, Sampler, SampleResult
from dlm_jax.samplers.filters import Filters

SAMPLERS = Modules(PACKAGE)


@dataclass(frozen=True)
class Samples:
  """The sequences and what they cost.

  Attributes:
    tokens: int32 `[num, L]`.
    given: bool `[num, L]`, which of them were given.
    num_evaluations: network evaluations of each batch.
    trajectory: int32 `[frames, L]` of the first sequence, or None.
    seconds: time spent drawing, without compilation.
  """

  tokens: np.ndarray
  given: np.ndarray
  num_evaluations: list[int]
  trajectory: np.ndarray | None
  seconds: float

  @property
  def tokens_per_second(self) -> float:
    """Tokens drawn a second, without those that are given and without compilation."""
    return float(np.sum(~self.given) / self.seconds)


def check_label(settings: DrawSettings, model: Model) -> None:
  """Raises `UserError` unless the model can draw with the label and the guidance of `settings`."""
  label, num_labels = settings.label, model.num_labels
  if label is not None and num_labels == 0:
    raise UserError(f"--label is {label}, but the model was trained on text without labels.")
  if label is not None and not 0 <= label < num_labels:
    raise UserError(f"--label must lie in 0..{num_labels - 1}, got {label}.")
  if num_labels and (label is None or settings.guidance != 1.0):
    model.check_unlabelled("sampling without --label" if label is None else "--guidance")


def draw(settings: DrawSettings, model: Model, prompt: Prompt | None = None) -> Samples:
  """Draws the sequences in batches of one compiled loop.

  Args:
    settings: how.
    model: from which.
    prompt: what is given; None is no text, at the length of training.

  Raises:
    UserError: the model cannot draw with these settings, or predicts what is not a number.
  """
  prompt = prompt or prompts.read(model, model.length)
  return join(list(draw_batches(settings, model, prompt)))


def draw_batches(
  settings: DrawSettings, model: Model, prompt: Prompt, indices: np.ndarray | None = None
) -> Iterator[Samples]:
  """`draw`, batch by batch, as they come: `num` sequences in all.

  Args:
    settings, model, prompt: as of `draw`.
    indices: `[num]`, the number of each sequence, which its draws follow from; 0, 1, .. if None.
  """
  indices = np.arange(settings.num) if indices is None else indices
  given = np.broadcast_to(prompt.given, (settings.num, prompt.length))
  run, batches = _compiled(settings, model, prompt, indices)
  done = 0
  for batch in batches:
    started = time.perf_counter()
    result = run(batch)
    tokens = result.tokens[: settings.num - done]
    done += len(tokens)
    yield Samples(
      tokens=tokens,
      given=given[done - len(tokens) : done],
      num_evaluations=[int(result.num_evaluations)],
      trajectory=None if result.trajectory is None else result.trajectory[:, 0],
      seconds=time.perf_counter() - started,
    )


def join(batches: Sequence[Samples]) -> Samples:
  """The samples of all batches, in their order, with the trajectory of the first."""
  return dataclasses.replace(
    batches[0],
    tokens=np.concatenate([batch.tokens for batch in batches]),
    given=np.concatenate([batch.given for batch in batches]),
    num_evaluations=[count for batch in batches for count in batch.num_evaluations],
    seconds=sum(batch.seconds for batch in batches),
  )


def sampler_of(name: str, settings: Mapping[str, object]) -> Sampler:
  """The sampler `name` with its own settings; texts are read as the types of its fields.

  Raises:
    UserError: there is no such sampler or setting, or a value is out of range.
  """
  known = SAMPLERS.fields(name)
  for setting in settings:
    require_field(f"the sampler {name!r}", setting, known)
  values = {n: known[n].read(value, f"--sampler.{n}") for n, value in settings.items()}
  return resolve.make(PACKAGE, {"name": name, **values})


# The numbers and tokens of the sequences of a batch, and what of them is given where it differs.
_Batch = tuple[Array, ...]


def _compiled(
  settings: DrawSettings, model: Model, prompt: Prompt, indices: np.ndarray
) -> tuple[Callable[[_Batch], SampleResult], list[_Batch]]:
  """The compiled loop, which returns its result to the host, and the batches to run it on."""
  check_label(settings, model)
  rows = rows_of_batch(min(settings.batch_size, settings.num), model.mesh)
  arrays = [indices, np.broadcast_to(prompt.tokens, (settings.num, prompt.length))]
  if prompt.given.ndim > 1:
    # One program for prompts of every length. What is the same for all rows is a constant of it.
    loops.check_given(model.process, prompt.given)
    arrays.append(prompt.given)
  where = batch_sharding(model.mesh)
  batches = [
    tuple(jax.device_put(part, where) for part in parts)
    for parts in zip(*(_batches(array, rows) for array in arrays), strict=True)
  ]
  with jax.set_mesh(model.mesh):
    loop = _loop(settings, model, rows, prompt)
    compiled = loop.lower(model.params, *batches[0]).compile()

  def run(batch: _Batch) -> SampleResult:
    with jax.set_mesh(model.mesh):
      result = jax.device_get(compiled(model.params, *batch))
    if result.has_nan:
      raise model.unusable("predict what is not a number, so that no text can be drawn")
    return result

  return run, batches


def _batches(array: np.ndarray, rows: int) -> list[np.ndarray]:
  """Pieces of `rows` rows; copies of the last row fill up the last piece."""
  missing = -len(array) % rows
  padded = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
  return list(padded.reshape(-1, rows, *array.shape[1:]))


def _loop(settings: DrawSettings, model: Model, rows: int, prompt: Prompt) -> jax.stages.Wrapped:
  """The jitted `(params, indices [B], tokens [B, L], given [B, L] or nothing) -> SampleResult`."""
  sampler = sampler_of(settings.sampler, settings.sampler_settings)
  is_open = not prompt.given.any()
  same = np.broadcast_to(prompt.given, (rows, prompt.length)) if prompt.given.ndim == 1 else None

  def sample(
    params: Params, indices: Array, tokens: Array, given: Array | None = None
  ) -> SampleResult:
    key = jax.random.key(settings.seed)
    process, denoise = _guided(settings, model, params, rows)
    request = Request(
      keys=jax.vmap(jax.random.fold_in, (None, 0))(key, indices),
      length=prompt.length,
      steps=settings.steps,
      tokens=None if is_open else tokens,
      given=None if is_open else same if given is None else given,
      grid=settings.grid,
      filters=Filters(temperature=settings.temperature, top_p=settings.top_p, top_k=settings.top_k),
      trajectory=settings.trajectory,
      end_id=model.tokenizer.eos_id,
      reuse=not model.network.knows_time,
    )
    return loops.sample(sampler, process, denoise, request)

  return jax.jit(sample, out_shardings=replicated(model.mesh))


def _guided(
  settings: DrawSettings, model: Model, params: Params, rows: int
) -> tuple[Process, Denoise]:
  """The process and the denoiser under the label and the guidance of the settings."""
  if settings.label is None:
    return bound(model.process, model.denoiser(params))
  labels = jnp.full(rows, settings.label)
  process, labelled = bound(model.process, model.denoiser(params, labels))
  _, unlabelled = bound(model.process, model.denoiser(params))
  return guidance.guide(process, labelled, unlabelled, settings.guidance)
