"""Tensors onto the mesh: in the dtype asked for, each on its shards."""

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.interop import hugging_face, weights
from tests.interop import checkpoints, parity


def test_tensors_of_16_bits_lie_spread_over_the_mesh_as_they_are(tmp_path):
  directory = checkpoints.copy("fast_dllm_v2", tmp_path)
  halves = {name: a.astype(jnp.bfloat16) for name, a in checkpoints.tensors(directory).items()}
  checkpoints.write(directory / "model.safetensors", halves)
  mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
  found, network, whole = parity.opened("fast_dllm_v2")
  del found
  params = hugging_face.read(str(directory)).params(network, mesh, jnp.dtype(jnp.bfloat16))
  query = weights.flat(params)["layers/attention/query"]
  assert query.dtype == jnp.bfloat16 and query.sharding.shard_shape(query.shape)[1:3] == (20, 2)
  jax.tree.map(
    lambda one, other: np.testing.assert_array_equal(one, np.asarray(other).astype(jnp.bfloat16)),
    params,
    whole,
  )
