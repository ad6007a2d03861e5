"""Our own decoders as `decode` measures them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.patterns import FULL, BlockCausal
from dlm_jax.core.types import Params, PyTree
from dlm_jax.decoding import decoders, windows
from dlm_jax.decoding.decode import decode
from dlm_jax.decoding.input_rows import InputRows
from dlm_jax.decoding.masked_model import MaskedModel
from dlm_jax.decoding.passes import passes_of
from dlm_jax.model.denoiser import CachingDenoiser
from dlm_jax.processes import autoregressive
from dlm_jax.samplers import ancestral, loops
from dlm_jax.samplers.base import Request
from dlm_jax.samplers.filters import Filters
from experiments.benchmarks.decode_points import AUTOREGRESSIVE, NEIGHBOURS, Contender, Point
from experiments.benchmarks.decode_shapes import DecoderShape


def contender(point: Point, shape: DecoderShape, params: Params, prompts: np.ndarray) -> Contender:
  """Our decoder of `point`."""
  answer, prompt = (_autoregressive if point.cache == AUTOREGRESSIVE else _masked)(point, shape)
  answer, tokens = jax.jit(answer), jnp.asarray(prompts)
  of_prompt = None if prompt is None else jax.jit(prompt)

  def run_prompt() -> None:
    if of_prompt is not None:
      jax.block_until_ready(of_prompt(params, tokens))

  return Contender(answer=lambda: int(jnp.max(answer(params, tokens))), prompt=run_prompt)


# Evaluations of each row, or of all, and the cache that holds the prompts.
Programs = tuple[Callable[[Params, Array], Array], Callable[[Params, Array], PyTree] | None]


def _masked(point: Point, shape: DecoderShape) -> Programs:
  """A masked model that commits `point.commits` tokens at each evaluation."""
  exact = point.cache == "block"
  network, pattern = shape.network(), BlockCausal(point.block) if exact else FULL
  made = decoders.make(
    length=point.length,
    block=point.block,
    rule={"name": "top_n", "steps": point.steps},
    cache={"name": point.cache, "neighbours": NEIGHBOURS},
  )
  lengths = jnp.full(point.rows, point.prompt)

  def model(params: Params) -> MaskedModel:
    return MaskedModel(network=network, params=params, mask_id=shape.mask_id, pattern=pattern)

  def answer(params: Params, tokens: Array) -> Array:
    keys = jax.random.split(jax.random.key(0), point.rows)
    return decode(made, model(params), (tokens, lengths), keys).num_evaluations

  def prompt(params: Params, tokens: Array) -> PyTree:
    where = windows.of(made, pattern, lengths, point.prompt)
    prompts = InputRows(tokens=tokens, time=jnp.zeros(point.rows))
    return passes_of(model(params), made, where).filled(prompts, 1)

  return answer, prompt if exact else None


def _autoregressive(point: Point, shape: DecoderShape) -> Programs:
  """The likeliest token after all before it, one after the other."""
  network = shape.network(causal=True)
  process = autoregressive.make(vocab_size=shape.vocab_size, begin_id=0)
  given = np.broadcast_to(np.arange(point.slots) < point.prompt, (point.rows, point.slots))

  def row(tokens: Array) -> Array:
    return jnp.pad(tokens, ((0, 0), (0, point.length)))

  def answer(params: Params, tokens: Array) -> Array:
    request = Request(
      keys=jax.random.split(jax.random.key(0), point.rows),
      length=point.slots,
      steps=point.slots,
      tokens=row(tokens),
      given=given,
      filters=Filters(temperature=0.0),
    )
    denoise = CachingDenoiser(network, params, pattern=process.pattern)
    return loops.sample(ancestral.make(), process, denoise, request).num_evaluations

  def prompt(params: Params, tokens: Array) -> PyTree:
    denoise = CachingDenoiser(network, params, pattern=process.pattern)
    cache = denoise.empty_cache(point.rows, point.slots)
    return denoise.extend(cache, row(tokens), jnp.zeros(point.rows), 0, point.prompt)[1]

  return answer, prompt
