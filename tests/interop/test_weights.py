"""Tensors onto the mesh: in the dtype asked for, each on its shards."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.distributed.platform import compiling_for
from dlm_jax.interop import hugging_face, weights
from dlm_jax.interop.files import TensorFiles
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


def test_the_shapes_of_a_checkpoint_are_known_on_a_tpu():
  """They are read from a row of two tokens, for which its kernel of attention is not made."""
  network = hugging_face.read(str(parity.FIXTURES / "llada")).description.build_network()
  with compiling_for("tpu"):
    shapes = weights.flat(hugging_face.abstract_of(network, make_mesh({"data": -1})))
  assert shapes["layers/attention/query"].shape == (3, 48, 6, 8)


def test_the_host_holds_one_tensor_at_a_time(monkeypatch):
  """What was read is let go of before the next is: with a copy of it, twice the largest tensor."""
  found = hugging_face.read(str(parity.FIXTURES / "ar_llama"))
  read, alive, most = TensorFiles.read, {}, []

  def counted(files, name, part=()):
    gc.collect()  # what the runtime has released
    tensor = read(files, name, part)
    alive[len(most)] = tensor.nbytes
    weakref.finalize(tensor, alive.pop, len(most))
    most.append(sum(alive.values()))
    return tensor

  monkeypatch.setattr(TensorFiles, "read", counted)
  found.params(found.description.build_network(), make_mesh({"data": -1}), jnp.dtype("bfloat16"))
  whole = [4 * np.prod(entry.shape) for entry in found.tensors.entries.values()]
  assert sorted(most) == sorted(whole)
