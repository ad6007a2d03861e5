"""Attention kernels agree with each other; `auto` chooses by platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.errors import UserError
from dlm_jax.networks import attention

QKV = jax.random.normal(jax.random.key(0), (3, 4, 128, 2, 64))


def test_auto_chooses_by_platform(monkeypatch):
  chosen = {}
  for platform in ("cpu", "gpu", "tpu"):
    monkeypatch.setattr(jax, "default_backend", lambda platform=platform: platform)
    for dtype in (jnp.float32, jnp.bfloat16):
      chosen[platform, jnp.dtype(dtype).name] = attention.choose("auto", dtype)
  assert chosen == {
    ("cpu", "float32"): "xla",
    ("cpu", "bfloat16"): "xla",
    ("gpu", "float32"): "xla",
    ("gpu", "bfloat16"): "cudnn",
    ("tpu", "float32"): "splash",
    ("tpu", "bfloat16"): "splash",
  }
  assert attention.choose("xla", jnp.bfloat16) == "xla"


@pytest.mark.parametrize("mesh", [None, {"data": 2, "fsdp": 2, "tensor": 2}], ids=["one", "mesh"])
def test_splash_equals_xla(mesh):
  """In Pallas's interpreter, where no TPU is; with the shards it would have on a mesh."""
  expected = attention.attend(*QKV, "xla")
  splash = jax.jit(lambda q, k, v: attention.attend(q, k, v, "splash"))
  if mesh is None:
    out = splash(*QKV)
  else:
    with jax.set_mesh(make_mesh(mesh)):
      out = splash(*QKV)
  np.testing.assert_allclose(out, expected, atol=2e-5)


def test_splash_refuses_lengths_it_cannot_tile():
  with pytest.raises(UserError, match="multiple of 128"):
    attention.attend(*QKV[:, :, :100], "splash")
