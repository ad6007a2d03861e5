"""Attention kernels agree with each other; `auto` chooses by platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Blocks, Causal
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.networks import attention
from tests.jaxprs import largest_array

QKV = jax.random.normal(jax.random.key(0), (3, 4, 128, 2, 64))


def test_auto_chooses_by_platform(monkeypatch):
  chosen = {}
  for platform in ("cpu", "gpu", "tpu"):
    monkeypatch.setattr(jax, "default_backend", lambda platform=platform: platform)
    for dtype in (jnp.float32, jnp.bfloat16):
      chosen[platform, jnp.dtype(dtype).name] = attention.choose("auto", dtype, 256)
  assert chosen == {
    ("cpu", "float32"): "flat",
    ("cpu", "bfloat16"): "flat",
    ("gpu", "float32"): "xla",
    ("gpu", "bfloat16"): "cudnn",
    ("tpu", "float32"): "splash",
    ("tpu", "bfloat16"): "splash",
  }
  # Of a row with a prompt, which has any length.
  assert attention.choose("auto", jnp.bfloat16, 130) == "xla"
  assert attention.choose("xla", jnp.bfloat16, 256) == "xla"
  assert attention.choose("splash", jnp.bfloat16, 130) == "splash"


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


def dense(query, key, value, allowed):
  """Every pair by itself, in float64."""
  q, k, v = (np.asarray(a, np.float64) for a in (query, key, value))
  scores = np.einsum("bqhk,bshk->bhqs", q, k) / np.sqrt(q.shape[-1])
  weights = np.where(allowed, np.exp(scores), 0)
  return np.einsum("bhqs,bshk->bqhk", weights / weights.sum(-1, keepdims=True), v)


PATTERNS = {
  "causal": (Causal(begin=0), np.tri(128, dtype=bool)),
  "blocks": (Blocks(4), Blocks(4).allowed(np.arange(128)[:, None], np.arange(128), 64)),
  "tokens": (Blocks(1), Blocks(1).allowed(np.arange(128)[:, None], np.arange(128), 64)),
  "uneven": (Blocks(12), Blocks(12).allowed(np.arange(128)[:, None], np.arange(128), 64)),
  "single": (Blocks(99), Blocks(99).allowed(np.arange(128)[:, None], np.arange(128), 64)),
}


@pytest.mark.parametrize("implementation", ["xla", "splash"])
@pytest.mark.parametrize("case", PATTERNS)
def test_only_visible_pairs_count(case, implementation):
  pattern, allowed = PATTERNS[case]
  qkv = QKV[:, :1]
  attend = jax.jit(lambda q, k, v: attention.attend(q, k, v, implementation, pattern))
  np.testing.assert_allclose(attend(*qkv), dense(*qkv, allowed), atol=2e-5)


def test_no_array_of_all_pairs_of_the_two_streams_is_held():
  """Neither in the forward nor in the backward pass."""
  length = 256
  shape = jax.ShapeDtypeStruct((1, 2 * length, 1, 8), jnp.float32)

  def total(q, k, v):
    return jnp.sum(attention.attend(q, k, v, "xla", Blocks(4)))

  largest = largest_array(jax.grad(total, argnums=(0, 1, 2)), shape, shape, shape)
  assert largest < (2 * length) ** 2 / 4


def test_splash_refuses_lengths_it_cannot_tile():
  with pytest.raises(UserError, match="multiple of 128"):
    attention.attend(*QKV[:, :, :100], "splash")
