"""The step that training takes, on one batch of random tokens."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.core.interface import NetworkInterface
from dlm_jax.model.head import Head
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs, Network
from dlm_jax.networks.transformer import Transformer
from dlm_jax.processes.base import Process
from dlm_jax.processes.parts.times import Times
from dlm_jax.training import optimizer, state
from dlm_jax.training.objective import Objective
from dlm_jax.training.optimizer import OptimizerConfig
from dlm_jax.training.step import make_step
from experiments.benchmarks.shape import Shape


def network(shape: Shape, interface: NetworkInterface, unroll: int = 1) -> Transformer:
  """A network that is not told the time, without dropout."""
  return transformer.make(
    width=shape.width,
    heads=shape.heads,
    depth=shape.depth,
    interface=interface,
    conditioning="none",
    norm="rms",
    dropout=0.0,
    unroll=unroll,
  )


def inputs(shape: Shape) -> Inputs:
  """A row, to draw parameters for."""
  return Inputs(tokens=jnp.zeros((1, shape.length), jnp.int32), time=jnp.zeros(1))


def training(
  process: Process, network: Network, shape: Shape, config: OptimizerConfig, ema_decay: float
) -> Callable[[int], None]:
  """Takes so many steps, and waits for the last of them alone."""
  update = optimizer.make(config, 1000, network.matrix_axes)
  objective = Objective(process=process, network=network, head=Head.of(process, mesh=None))
  step = make_step(objective, update, Times(), seed=0, ema_decay=ema_decay)
  compiled = jax.jit(step, donate_argnums=0)
  generator = np.random.default_rng(0)
  tokens = generator.integers(shape.vocab_size, size=(shape.rows, shape.length))
  batch = {"tokens": jnp.asarray(tokens, jnp.int32)}
  carried = state.init(jax.jit(network.init)(jax.random.key(0), inputs(shape)), update)

  def run(steps: int) -> None:
    nonlocal carried
    for _ in range(steps):
      carried, metrics = compiled(carried, batch)
    jax.block_until_ready(metrics)

  return run
