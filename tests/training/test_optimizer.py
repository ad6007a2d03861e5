"""The learning rate, the leaves that are decayed, and Muon on stacked layers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.training import clipping, optimizer
from dlm_jax.training.optimizer import OptimizerConfig

NET = transformer.make(
  width=32,
  heads=2,
  depth=3,
  interface=NetworkInterface(columns=11, num_embeddings=12),
  condition_width=8,
)
INPUTS = Inputs(tokens=np.zeros((1, 4), np.int32), time=np.zeros(1, np.float32))
PARAMS = jax.tree.map(
  lambda leaf: np.ones(leaf.shape, leaf.dtype), jax.eval_shape(NET.init, jax.random.key(0), INPUTS)
)


@pytest.mark.parametrize(
  ("decay", "expected"),
  [
    ("constant", [0.1, 0.5, 1.0, 1.0, 1.0, 1.0]),
    ("linear", [0.1, 0.5, 1.0, 1.0, 0.6, 0.2]),
    ("cosine", [0.1, 0.5, 1.0, 1.0, 0.6, 0.2]),
  ],
)
def test_warmup_then_decay(decay, expected):
  config = OptimizerConfig(warmup_steps=10, decay=decay, final_fraction=0.2)
  rate = optimizer.learning_rate(config, 1.0, steps=110)
  got = [float(rate(step)) for step in (0, 4, 9, 10, 59, 109)]
  # One step into a decay of 100 steps the rate has moved by a hundredth of the way.
  np.testing.assert_allclose(got, expected, atol=0.01)


def test_cosine_and_linear_differ_between_their_ends():
  rates = [
    optimizer.learning_rate(OptimizerConfig(warmup_steps=0, decay=decay), 1.0, 100)(24)
    for decay in ("linear", "cosine")
  ]
  np.testing.assert_allclose(rates, [0.75, 0.5 * (1 + np.cos(np.pi / 4))], atol=1e-6)


def test_norms_and_biases_are_not_decayed():
  flags = jax.tree_util.tree_leaves_with_path(optimizer.decayed(PARAMS))
  names = {jax.tree_util.keystr(path, simple=True, separator="/"): flag for path, flag in flags}
  assert names["embedding"] and names["blocks/attention/qkv"] and names["head_kernel"]
  kept = {name for name, flag in names.items() if not flag}
  assert "blocks/attention_norm/scale" in kept and "blocks/feedforward/up_bias" in kept
  assert all(name.endswith(("scale", "bias")) for name in kept)


def test_weight_decay_shrinks_only_those():
  for name in ("adamw", "muon"):
    config = OptimizerConfig(name=name, warmup_steps=0, weight_decay=0.5, learning_rate=0.1)
    update = optimizer.make(config, 10, NET.matrix_axes)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = jax.jit(update.update)(zeros, update.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["embedding"], -0.05, rtol=1e-5)
    np.testing.assert_array_equal(updates["final_norm"]["scale"], 0.0)
    assert (updates["blocks"]["attention"]["qkv"] < 0).all()


def test_weight_decay_may_shrink_norms_and_biases_too():
  config = OptimizerConfig(
    warmup_steps=0, weight_decay=0.5, learning_rate=0.1, decay_weights_of="all"
  )
  update = optimizer.make(config, 10, NET.matrix_axes)
  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  updates, _ = jax.jit(update.update)(zeros, update.init(PARAMS), PARAMS)
  for leaf in jax.tree.leaves(updates):
    np.testing.assert_allclose(leaf, -0.05, rtol=1e-5)


def test_schedule_and_embeddings_have_rates_and_decays_of_their_own():
  """Adam's first step is the rate; a weight of 1 shrinks by the rate times its decay besides."""
  config = OptimizerConfig(
    warmup_steps=0,
    clip=0.0,
    learning_rate=1e-3,
    weight_decay=0.5,
    schedule_learning_rate=0.1,
    schedule_weight_decay=0.2,
    embedding_learning_rate=1e-2,
  )
  params = {
    "kernel": jnp.ones((2, 2)),
    "process": {"embeddings": jnp.ones((3, 2)), "schedule": {"ends": jnp.ones(2)}},
  }
  update = optimizer.make(config, 10, (), learned_schedule=True)
  updates, _ = update.update(jax.tree.map(jnp.ones_like, params), update.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -1e-3 * 1.5, rtol=1e-4)
  np.testing.assert_allclose(updates["process"]["schedule"]["ends"], -0.1 * 1.2, rtol=1e-4)
  np.testing.assert_allclose(updates["process"]["embeddings"], -1e-2, rtol=1e-4)


def test_muon_orthogonalises_each_matrix_of_each_layer():
  config = OptimizerConfig(name="muon", warmup_steps=0, clip=0.0, matrix_learning_rate=1.0)
  update = optimizer.make(config, 10, NET.matrix_axes)
  keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(PARAMS)))
  leaves, treedef = jax.tree.flatten(PARAMS)
  gradients = jax.tree.unflatten(
    treedef, [jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
  )
  updates, _ = jax.jit(update.update)(gradients, update.init(PARAMS), PARAMS)
  attention, feedforward = updates["blocks"]["attention"], updates["blocks"]["feedforward"]
  matrices = [attention["qkv"][n, :, i].reshape(32, 32) for n in range(3) for i in range(3)]
  matrices += [attention["out"][n].reshape(32, 32) for n in range(3)]
  matrices += [feedforward[name][n] for name in ("up", "down") for n in range(3)]
  for matrix in matrices:
    singular = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    # Newton-Schulz brings all singular values near one value; a random matrix spreads them to 0.
    assert singular.min() > 0.5 * singular.max()


def test_muon_leaves_the_rest_to_adam():
  config = OptimizerConfig(name="muon", warmup_steps=0, clip=0.0, learning_rate=0.1, beta1=0.5)
  update = optimizer.make(config, 10, NET.matrix_axes)
  gradients = jax.tree.map(lambda p: jnp.full_like(p, 3.0), PARAMS)
  updates, _ = jax.jit(update.update)(gradients, update.init(PARAMS), PARAMS)
  np.testing.assert_allclose(updates["embedding"], -0.1, rtol=1e-3)  # Adam's first step: the rate
  np.testing.assert_allclose(updates["head_kernel"], -0.1, rtol=1e-3)


def test_gradients_are_clipped_to_the_global_norm():
  config = OptimizerConfig(clip=1.0, warmup_steps=0)
  huge = jax.tree.map(lambda p: jnp.full_like(p, 1e3), PARAMS)
  update = optimizer.make(config, 10, NET.matrix_axes)
  _, state = jax.jit(update.update)(huge, update.init(PARAMS), PARAMS)
  moments = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim > 0]
  firsts = moments[: len(moments) // 2]
  assert float(optax.tree.norm(firsts)) == pytest.approx(0.1, rel=1e-3)  # (1 - beta1) * clip


def test_gradients_are_clipped_to_a_quantile_of_their_latest_norms(monkeypatch):
  """Once the window is full: until then what stands for earlier norms is huge."""
  monkeypatch.setattr(clipping, "WINDOW", 8)
  clip = clipping.clip_by_quantile(0.75)
  norms = np.random.default_rng(0).uniform(1.0, 9.0, 30).astype(np.float32)
  state, seen = clip.init({}), [clipping.BEFORE] * 8
  for norm in norms:
    direction = {"w": jnp.float32([0.6, 0.0]), "b": jnp.float32([0.8])}
    clipped, state = clip.update(jax.tree.map(lambda u, n=norm: n * u, direction), state)
    expected = min(float(norm), np.quantile(seen[-8:], 0.75))
    assert float(optax.tree.norm(clipped)) == pytest.approx(expected, rel=1e-4)
    seen.append(float(norm))
  # What a run needs to go on as if it had not stopped lies in the state of the optimizer.
  state = optimizer.make(OptimizerConfig(clip=0.0, clip_quantile=0.95), 10, ()).init({})
  assert any(leaf.shape == (8,) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"name": "moun"}, "did you mean 'muon'"),
    ({"decay": "cosin"}, "did you mean 'cosine'"),
    ({"decay_weights_of": "al"}, "did you mean 'all'"),
    ({"clip_quantile": 0.95}, "a gradient is clipped once: set one of them to 0"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    OptimizerConfig(**fields)
