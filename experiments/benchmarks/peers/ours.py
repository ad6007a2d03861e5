"""The same network and batch in dlm_jax, by the step that training takes."""

from collections.abc import Callable

import jax

from dlm_jax.core.types import Params
from dlm_jax.distributed import allocator, platform
from dlm_jax.model.denoiser import Denoiser
from dlm_jax.networks import transformer
from dlm_jax.networks.transformer import Transformer
from dlm_jax.processes import absorbing
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.samplers import ancestral, loops
from dlm_jax.samplers.base import Request
from dlm_jax.training.optimizer import OptimizerConfig
from experiments.benchmarks import step
from experiments.benchmarks.peers.settings import CONDITION, EMA_DECAY, LEARNING_RATE
from experiments.benchmarks.shape import Shape


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


def _start() -> None:
  """What a command does when it starts."""
  allocator.keep_freed_memory()
  platform.dispatch_one_step_at_a_time()


def training(shape: Shape) -> Callable[[int], None]:
  """Takes so many steps of training."""
  _start()
  config = OptimizerConfig(learning_rate=LEARNING_RATE)
  return step.training(*parts(shape), shape, config, EMA_DECAY)


def sampling(shape: Shape) -> Callable[[int], None]:
  """Takes so many steps of ancestral sampling, each with a network evaluation."""
  _start()
  process, network = parts(shape)
  params = jax.jit(network.init)(jax.random.key(0), step.inputs(shape))

  def sample(params: Params, key: jax.Array, steps: int) -> jax.Array:
    keys = jax.random.split(key, shape.rows)
    request = Request(keys=keys, length=shape.length, steps=steps)
    denoise = Denoiser(network, params, pattern=process.pattern)
    return loops.sample(ancestral.make(), process, denoise, request).tokens

  compiled = jax.jit(sample, static_argnums=2)

  def run(steps: int) -> None:
    compiled(params, jax.random.key(0), steps).block_until_ready()

  return run
