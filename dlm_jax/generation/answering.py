"""Answers to prompts in batches, with as few compiled programs as their lengths allow."""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.core.types import Params
from dlm_jax.decoding.decode import Decoded, decode
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.masked_model import MaskedModel, masked_model
from dlm_jax.decoding.steps import Step, Watch
from dlm_jax.model.model import Model

# The least room of a prompt, in tokens, see `room_for`.
ROOM = 32


@dataclass(frozen=True, kw_only=True)
class Answer:
  """One answer.

  Attributes:
    prompt: the number of the prompt that it answers.
    number: which of its answers, from 0.
    tokens: int32 `[n]`, up to the first end token and with it.
    num_evaluations: of the network for it.
    seconds: its share of those of its batch, without compilation.
    compilation: its share of those that the program of its batch took to compile, if it was new.
  """

  prompt: int
  number: int
  tokens: np.ndarray
  num_evaluations: int
  seconds: float
  compilation: float


class Watcher(Protocol):
  """Who is told of every step while a batch of answers is written.

  Attributes:
    alternatives: of how many tokens at each position.
  """

  alternatives: int

  def begin(self, batch: Sequence[tuple[int, int]]) -> None:
    """Before a batch: the number of the prompt of each of its rows, and which of its answers."""

  def tell(self, step: Step) -> None:
    """At every step, in order, in a thread of its own; it must not use JAX."""


def family_of(model: Model) -> str | None:
  """The family of the checkpoint that the model is; None where it is a run of this project."""
  stated = model.provenance.config.get("family")
  return stated if isinstance(stated, str) else None


def answers(
  decoder: Decoder,
  model: Model,
  prompts: Mapping[int, np.ndarray],
  *,
  num: int = 1,
  batch_size: int = 8,
  seed: int = 0,
  watchers: Sequence[Watcher] = (),
) -> Iterator[Answer]:
  """`num` answers to each prompt, batch by batch, those to short prompts first.

  Which batch a prompt falls into changes no answer: it depends on the seed, on the number by which
  `prompts` has the prompt, and on its own number. Programs that are watched are compiled anew in
  each process: JAX keeps none that calls the host.

  Raises:
    UserError: the model cannot be decoded so, or predicts what is not a number.
  """
  if not prompts:
    return
  masked = masked_model(model.process, model.network, model.denoiser().network_params)
  order = sorted(prompts, key=lambda prompt: len(prompts[prompt]))
  pairs = [(prompt, number) for prompt in order for number in range(num)]
  batch_size, copies = shared_batch(min(batch_size, len(pairs)), num)
  program = _program(decoder, masked, model.tokenizer.eos_id, copies, _watch(watchers))
  compiled: dict[int, jax.stages.Compiled] = {}
  for begin in range(0, len(pairs), batch_size):
    batch = pairs[begin : begin + batch_size]
    filled = batch + batch[-1:] * (batch_size - len(batch))
    for watcher in watchers:
      watcher.begin(batch)
    inputs = _inputs([prompts[p] for p, _ in filled], np.array(filled, np.uint32), seed)
    with jax.set_mesh(model.mesh):
      began, room = time.perf_counter(), inputs[0].shape[1]
      if room not in compiled:
        compiled[room] = program.lower(masked.params, *inputs).compile()
      started = time.perf_counter()
      decoded = jax.device_get(compiled[room](masked.params, *inputs))
      if watchers:
        jax.effects_barrier()
      ended = time.perf_counter()
    if decoded.has_nan:
      raise model.unusable("predict what is not a number, so that nothing can be written")
    yield from _read(decoded, batch, (ended - started, started - began))


def room_for(length: int) -> int:
  """The tokens that a prompt of `length` is given room for, so that lengths share programs.

  A multiple of `ROOM` up to four of them, and from there four sizes to each doubling, so that less
  than a fifth of it is empty: prompts of up to 4096 tokens have 24 sizes, of up to 32768 have 36.
  """
  step = max(ROOM, 1 << max((length - 1).bit_length() - 3, 0))
  return -(-length // step) * step


def shared_batch(batch_size: int, num: int) -> tuple[int, int]:
  """The size of a batch, at most `batch_size`, and how many neighbours in it answer one prompt,
  where each has `num` answers: they share what an exact cache holds of the prompt."""
  if num <= batch_size:
    return batch_size // num * num, num
  return batch_size, math.gcd(batch_size, num)


def _inputs(
  prompts: Sequence[np.ndarray], pairs: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, jax.Array]:
  """The prompts of a batch, their lengths, and the keys of its answers."""
  lengths = np.array([len(prompt) for prompt in prompts], np.int32)
  tokens = np.zeros((len(prompts), room_for(int(lengths.max()))), np.int32)
  for row, prompt in zip(tokens, prompts, strict=True):
    row[: len(prompt)] = prompt
  key = jax.random.key(seed)
  keys = jax.vmap(lambda pair: jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1]))(pairs)
  return tokens, lengths, keys


def _program(
  decoder: Decoder, masked: MaskedModel, end_id: int | None, copies: int, watch: Watch | None
) -> jax.stages.Wrapped:
  """The jitted `(params, prompts, lengths, keys) -> Decoded`."""
  bare = dataclasses.replace(masked, params={})

  def run(params: Params, tokens: jax.Array, lengths: jax.Array, keys: jax.Array) -> Decoded:
    bound = dataclasses.replace(bare, params=params)
    prompts = (jnp.asarray(tokens), jnp.asarray(lengths))
    return decode(decoder, bound, prompts, keys, end_id=end_id, copies=copies, watch=watch)

  return jax.jit(run)


def _watch(watchers: Sequence[Watcher]) -> Watch | None:
  """All of them as one."""

  def tell(step: Step) -> None:
    for watcher in watchers:
      watcher.tell(step)

  most = max((watcher.alternatives for watcher in watchers), default=0)
  return Watch(tell, most) if watchers else None


def _read(
  decoded: Decoded, batch: Sequence[tuple[int, int]], seconds: tuple[float, float]
) -> Iterator[Answer]:
  for row, (prompt, number) in enumerate(batch):
    yield Answer(
      prompt=prompt,
      number=number,
      tokens=np.asarray(decoded.answers[row, : decoded.lengths[row]]),
      num_evaluations=int(decoded.num_evaluations[row]),
      seconds=seconds[0] / len(batch),
      compilation=seconds[1] / len(batch),
    )
