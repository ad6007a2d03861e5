"""What a benchmark compares is of one size."""

import jax
import jax.numpy as jnp

from experiments.benchmarks import step
from experiments.benchmarks.peers import jax_dit, ours
from experiments.benchmarks.shape import Shape


def test_the_plain_network_has_as_many_parameters_as_ours():
  shape = Shape(width=64, heads=1, depth=2, length=8, rows=2, vocab_size=27)
  z, t = jnp.zeros((1, shape.length), jnp.int32), jnp.zeros(1)
  plain = jax.eval_shape(jax_dit.DiT(shape, jnp.dtype(jnp.float32)).init, jax.random.key(0), z, t)
  _, network = ours.parts(shape)
  own = jax.eval_shape(network.init, jax.random.key(0), step.inputs(shape))
  sizes = [sum(leaf.size for leaf in jax.tree.leaves(params)) for params in (own, plain)]
  # Ours modulates the last norm too, by the condition.
  assert sizes[0] - sizes[1] == 2 * shape.width * (128 + 1)
