"""The parameters of a process and its network: first values, shapes, and places on the mesh."""

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.types import Params, PyTree
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.distributed.sharding import Rules, shardings
from dlm_jax.model import denoiser
from dlm_jax.model.denoiser import PROCESS, inputs_of
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Process


def init_params(
  process: Process, network: Network, key: Array, *, rows: int, length: int
) -> Params:
  """New parameters of the network, and under `process` of what the process learns, if anything.

  Args:
    process, network: whose parameters they are.
    key: of all draws.
    rows: of the batch that the shapes are read from; splash attention cuts it over the mesh.
    length: tokens of a row.
  """
  z = process.prior(key, (rows, length))
  params = network.init(key, inputs_of(network, z, jnp.zeros(rows)))
  learned = process.init(jax.random.fold_in(key, 1))
  return {**params, PROCESS: learned} if learned else params


def sharding_rules(network: Network) -> Rules:
  """Where the parameters of a network, and of any process, lie on the mesh."""
  return (*network.sharding_rules, *denoiser.SHARDING_RULES)


def abstract_params(
  process: Process, network: Network, mesh: jax.sharding.Mesh, length: int
) -> Params:
  """Shapes, dtypes and shardings of the parameters; computes nothing."""
  rows = batch_shards(mesh)
  shapes = jax.eval_shape(
    lambda key: init_params(process, network, key, rows=rows, length=length), jax.random.key(0)
  )
  return with_layout(shapes, sharding_rules(network), mesh)


def with_layout(shapes: PyTree, rules: Rules, mesh: jax.sharding.Mesh) -> PyTree:
  """The same `jax.ShapeDtypeStruct` leaves, each with its sharding on the mesh."""
  return jax.tree.map(
    lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
    shapes,
    shardings(shapes, rules, mesh),
  )
