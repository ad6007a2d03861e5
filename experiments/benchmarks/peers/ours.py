"""The same network and batch in dlm_jax, by the step that training takes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.core.types import Params
from dlm_jax.distributed import allocator, cluster
from dlm_jax.model.denoiser import Denoiser
from dlm_jax.model.head import Head
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.networks.transformer import Transformer
from dlm_jax.processes import absorbing
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.processes.parts.times import Times
from dlm_jax.samplers import ancestral, loops
from dlm_jax.samplers.base import Request
from dlm_jax.training import optimizer, state
from dlm_jax.training.objective import Objective
from dlm_jax.training.step import make_step
from experiments.benchmarks.peers.shape import CONDITION, EMA_DECAY, LEARNING_RATE, Shape


def parts(shape: Shape) -> tuple[Absorbing, Transformer]:
  """The process and the network."""
  process = absorbing.make(vocab_size=shape.vocab_size)
  network = transformer.make(
    width=shape.width,
    heads=shape.heads,
    depth=shape.depth,
    condition_width=CONDITION,
    time_conditioned=True,
    dropout=0.0,
    unroll=0,
    interface=process.interface,
  )
  return process, network


def inputs(shape: Shape) -> Inputs:
  """A row, to draw parameters for."""
  return Inputs(tokens=jnp.zeros((1, shape.length), jnp.int32), time=jnp.zeros(1))


def _start(shape: Shape) -> tuple[Absorbing, Transformer, Params]:
  # What a command does when it starts.
  allocator.keep_freed_memory()
  cluster.start(stoppable=False)
  process, network = parts(shape)
  return process, network, jax.jit(network.init)(jax.random.key(0), inputs(shape))


def training(shape: Shape) -> Callable[[int], None]:
  """Takes so many steps of training."""
  process, network, params = _start(shape)
  config = optimizer.OptimizerConfig(learning_rate=LEARNING_RATE)
  update = optimizer.make(config, 1000, network.matrix_axes)
  objective = Objective(process=process, network=network, head=Head.of(process, None))
  step = make_step(objective, update, Times(), seed=0, ema_decay=EMA_DECAY)
  step = jax.jit(step, donate_argnums=0)
  sizes = (shape.batch_size, shape.length)
  tokens = np.random.default_rng(0).integers(shape.vocab_size, size=sizes)
  batch = {"tokens": jnp.asarray(tokens, jnp.int32)}
  carried = state.init(params, update)

  def run(steps: int) -> None:
    nonlocal carried
    for _ in range(steps):
      carried, metrics = step(carried, batch)
    jax.block_until_ready(metrics)

  return run


def sampling(shape: Shape) -> Callable[[int], None]:
  """Takes so many steps of ancestral sampling, each with a network evaluation."""
  process, network, params = _start(shape)

  def sample(params: Params, key: jax.Array, steps: int) -> jax.Array:
    keys = jax.random.split(key, shape.batch_size)
    request = Request(keys=keys, length=shape.length, steps=steps)
    denoise = Denoiser(network, params, pattern=process.pattern)
    return loops.sample(ancestral.make(), process, denoise, request).tokens

  compiled = jax.jit(sample, static_argnums=2)

  def run(steps: int) -> None:
    compiled(params, jax.random.key(0), steps).block_until_ready()

  return run
