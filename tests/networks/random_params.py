"""Parameters all of which are random: what starts at zero would hide errors."""

import jax

from dlm_jax.networks.base import Inputs, Network


def random_params(network: Network, inputs: Inputs, seed: int = 0, scale: float = 0.3) -> dict:
  shapes = jax.eval_shape(network.init, jax.random.key(0), inputs)
  leaves, treedef = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  values = [scale * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
  return jax.tree.unflatten(treedef, values)
