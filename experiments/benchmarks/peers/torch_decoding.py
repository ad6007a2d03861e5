"""Decoding in plain PyTorch, as the reference codes do it, which `decode` compares with.

Fast-dLLM (Wu et al. 2025) without a cache and with the caches `prefix` and `dual`, dInfer (2025)
with `vicinity`, SDAR (Cheng et al. 2025) with that of blocks, each with a number of tokens that a
step commits. Those codes compute logits, and probabilities in float64, of all positions that they
evaluate; so does `Loop` where it is `published`. Otherwise it does what a careful user would: those
of the block alone, in float32.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from experiments.benchmarks.decode_points import AUTOREGRESSIVE, Contender, Point, seconds_of
from experiments.benchmarks.decode_shapes import DecoderShape, Pass
from experiments.benchmarks.peers.torch_llama import Decoder

Result = TypeVar("Result")


@dataclass(frozen=True)
class Loop:
  """Writes the answers of `point`.

  Attributes:
    decoder: the network.
    point: what is decoded.
    shape: of the network.
    published: whether all positions that are evaluated are scored, in float64.
  """

  decoder: Decoder
  point: Point
  shape: DecoderShape
  published: bool

  @property
  def shift(self) -> int:
    """1 where position i is predicted from the state at i - 1, else 0."""
    return int(self.shape.label_shift and self.point.cache != AUTOREGRESSIVE)

  @property
  def has_prompt(self) -> bool:
    """Whether the prompts are evaluated before the first pass of an answer."""
    return self.point.cache in (AUTOREGRESSIVE, "block")

  @torch.no_grad()
  def prompt(self, prompts: Tensor) -> None:
    """Fills the cache with the `prompts` `[B, P]`."""
    self.decoder.empty(self.point.rows, self.point.slots)
    place = torch.arange(self.point.prompt, device=prompts.device) // self.point.block
    self.decoder(prompts, 0, self.point.prompt, mask=place[:, None] >= place)

  @torch.no_grad()
  def answer(self, prompts: Tensor) -> Tensor:
    """The rows `[B, S]`, prompts and answers."""
    point = self.point
    answers = prompts.new_full((point.rows, point.length), self.shape.mask_id)
    tokens = torch.cat([prompts, answers], dim=1)
    if self.has_prompt:
      self.prompt(prompts)
    else:
      self.decoder.empty(point.rows, point.slots)
    for first in range(point.prompt, point.slots, point.block):
      for each in point.passes_of_block(first, self.shift):
        self._step(tokens, first, each)
    return tokens

  def _step(self, tokens: Tensor, first: int, each: Pass) -> None:
    """One evaluation of the block of `tokens` `[B, S]` that begins at `first`."""
    seen = tokens[:, each.start : each.start + each.queries]
    hidden = self.decoder(seen, each.start, each.keys, kept=self.point.cache != "none")
    if self.point.cache == AUTOREGRESSIVE:
      tokens[:, first] = self.decoder.head(hidden)[:, 0].argmax(-1)
    elif each.scored:
      self._commit(tokens[:, first : first + self.point.block], hidden, first - each.start)

  def _commit(self, here: Tensor, hidden: Tensor, place: int) -> None:
    """Writes the most certain candidates into the block `here` `[B, W]`, which is predicted from
    `hidden` `[B, n, D]`, whose state at `place` is its first."""
    of_block = slice(place - self.shift, place - self.shift + self.point.block)
    if self.published:
      logits = self.decoder.head(hidden)
      token = logits.argmax(-1)
      certainty = self._probability(logits.double(), token)
      token, certainty = token[:, of_block], certainty[:, of_block]
    else:
      logits = self.decoder.head(hidden[:, of_block])
      token = logits.argmax(-1)
      certainty = self._probability(logits.float(), token)
    certainty = certainty.masked_fill(here != self.shape.mask_id, -torch.inf)
    best = certainty.topk(self.point.commits).indices
    here.scatter_(1, best, token.gather(1, best))

  def _probability(self, logits: Tensor, token: Tensor) -> Tensor:
    return logits.softmax(-1).gather(-1, token[..., None])[..., 0]


def contender(point: Point, shape: DecoderShape, prompts: np.ndarray, published: bool) -> Contender:
  """The loop of `point`: in bfloat16 on a GPU, on a CPU with one thread or all, as is faster."""
  on_gpu = torch.cuda.is_available()
  device, dtype = ("cuda", torch.bfloat16) if on_gpu else ("cpu", torch.float32)
  loop = Loop(_decoder(shape, device, dtype), point, shape, published)
  tokens = torch.tensor(prompts, dtype=torch.int64, device=device)

  def answer() -> int:
    loop.answer(tokens).cpu()
    return len(point.passes(loop.shift)) + loop.has_prompt

  def prompt() -> None:
    if loop.has_prompt:
      loop.prompt(tokens)
      loop.decoder.keys[0, 0, 0, 0, 0].item()  # waits for a GPU

  def with_threads(count: int, run: Callable[[], Result]) -> Result:
    torch.set_num_threads(count)
    return run()

  counts = [1] if on_gpu else sorted({1, os.cpu_count() or 1}, reverse=True)
  seconds = {count: with_threads(count, lambda: seconds_of(answer)) for count in counts}
  fastest = min(counts, key=lambda count: seconds[count])
  return Contender(
    answer=lambda: with_threads(fastest, answer), prompt=lambda: with_threads(fastest, prompt)
  )


@functools.cache
def _decoder(shape: DecoderShape, device: str, dtype: torch.dtype) -> Decoder:
  """The network, which all points share."""
  torch.set_default_dtype(dtype)
  with torch.device(device):
    decoder = Decoder(shape)
  torch.set_default_dtype(torch.float32)
  return decoder
