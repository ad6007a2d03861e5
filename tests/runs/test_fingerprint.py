"""A change of any bit or of the order is seen; another sharding is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlm_jax.runs.fingerprint import fingerprints


@pytest.mark.parametrize(
  "dtype", ["float32", "bfloat16", "float16", "int8", "int32", "uint8", "uint32", "float8_e4m3fn"]
)
def test_it_sees_every_bit_and_every_swap(dtype):
  raw = np.random.default_rng(0).integers(0, 256, (6, 4 * jnp.dtype(dtype).itemsize), np.uint8)

  def value(data):
    return fingerprints({"x": jnp.asarray(data.view(jnp.dtype(dtype)))})["x"]

  original, seen = value(raw), set()
  for bit in range(8 * raw.size):
    flipped = np.frombuffer(bytearray(raw.tobytes()), np.uint8).copy()
    flipped[bit // 8] ^= 1 << (bit % 8)
    seen.add(value(flipped.reshape(raw.shape)))
  assert original not in seen
  assert value(raw[::-1].copy()) != original


def test_it_of_booleans_scalars_and_nothing():
  values = fingerprints(
    {"a": jnp.array([True, False]), "b": jnp.array([False, True]), "c": jnp.zeros((0, 2))}
  )
  assert values["a"] != values["b"] and values["c"] == 0


def test_it_sees_signs_and_the_order_along_every_axis():
  matrix = jnp.arange(1.0, 5.0).reshape(2, 2)
  variants = [matrix, -matrix, matrix.T, matrix[::-1], matrix[:, ::-1], 0 * matrix, -0.0 * matrix]
  assert len({fingerprints({"x": x})["x"] for x in variants}) == len(variants)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "uint32", "bool"])
@pytest.mark.parametrize("spec", [("x", "y"), ("y", None), (("x", "y"), None)])
def test_it_is_the_same_on_every_mesh(spec, dtype):
  array = (100 * jax.random.normal(jax.random.key(0), (8, 6))).astype(dtype)
  mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
  spread = jax.device_put(array, NamedSharding(mesh, PartitionSpec(*spec)))
  assert fingerprints({"x": spread}) == fingerprints({"x": array})
