"""The denoiser: its parts against plain formulas, and every option against the default."""

import re

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, Blocks, Causal
from dlm_jax.distributed import sharding
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.networks import embedding, layers, presets, transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.networks.stacked_network import visible_pairs

B, L, V = 3, 16, 11
SMALL = {
  "width": 32,
  "heads": 4,
  "depth": 3,
  "condition_width": 16,
}
INTERFACE = NetworkInterface(columns=V, num_embeddings=V + 1)
Z = np.random.default_rng(0).integers(0, V + 1, (B, L), np.int32)
GPT2 = NetworkInterface(columns=50257, num_embeddings=50258)
T = jnp.asarray([0.1, 0.5, 0.9])


def network(**fields):
  return transformer.make(**{"interface": INTERFACE, **SMALL, **fields})


def random_params(net, seed=0):
  """Parameters all of which are random: adaLN and the head start at zero and would hide errors."""
  shapes = jax.eval_shape(net.init, jax.random.key(0), Inputs(tokens=Z, time=T))
  leaves, treedef = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  values = [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
  return jax.tree.unflatten(treedef, values)


def hidden(net, params, z=Z, t=T, **fields):
  return net.hidden(params, Inputs(tokens=z, time=t, **fields))


def logits(net, params, z=Z, t=T, **fields):
  return net.head(params, hidden(net, params, z, t, **fields))


@pytest.fixture(scope="module")
def base():
  net = network(time_conditioned=True)
  params = random_params(net)
  return params, logits(net, params)


def test_a_continuous_state_can_enter_the_layers_as_it_is():
  interface = NetworkInterface(columns=V, num_embeddings=0, state_width=SMALL["width"])
  net = network(interface=interface, identity_input=True, depth=1)
  states = jax.random.normal(jax.random.key(0), (B, L, SMALL["width"]))
  inputs = Inputs(states=states, time=T)
  kernel = net.init(jax.random.key(0), inputs)["state_kernel"]
  read = embedding.InputWeights(state_kernel=kernel)
  np.testing.assert_array_equal(embedding.apply(read, inputs, jnp.float32, jnp.float32), states)


def test_starts_as_the_uniform_prediction():
  net = network()
  params = net.init(jax.random.key(0), Inputs(tokens=Z, time=T))
  np.testing.assert_array_equal(logits(net, params), 0.0)


@pytest.mark.parametrize(
  "fields", [{"unroll": 0}, {"unroll": 3}, {"remat": "dots"}, {"remat": "full"}], ids=str
)
def test_unroll_and_remat_change_nothing(base, fields):
  params, expected = base
  net = network(time_conditioned=True, **fields)
  np.testing.assert_allclose(logits(net, params), expected, rtol=1e-4, atol=1e-4)
  plain = network(time_conditioned=True)
  slope, reference = (
    jax.grad(lambda p, n=n: jnp.sum(jnp.sin(logits(n, p))))(params) for n in (net, plain)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2), slope, reference
  )


def test_matches_a_plain_transcription(base):
  """The whole forward pass once more, from the equations of DiT, a layer and a head at a time."""
  params, expected = base
  x = np.asarray(params["embedding"])[Z].astype(np.float64)
  c = plain_condition(params["time"], np.asarray(T, np.float64))
  for n in range(SMALL["depth"]):
    x = plain_block(
      jax.tree.map(lambda a, n=n: np.asarray(a[n], np.float64), params["blocks"]), x, c
    )
  x = plain_layer_norm(x) * np.asarray(params["final_norm"]["scale"])
  shift, scale = np.split(plain_linear(params["final_modulation"], c)[:, None], 2, axis=-1)
  x = x * (1 + scale) + shift
  ours = x @ np.asarray(params["head_kernel"]) + np.asarray(params["head_bias"])
  np.testing.assert_allclose(expected, ours, rtol=2e-3, atol=2e-3)


def plain_linear(p, x):
  return x @ np.asarray(p["kernel"], np.float64) + np.asarray(p["bias"], np.float64)


def plain_silu(x):
  return x / (1 + np.exp(-x))


def plain_layer_norm(x):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def plain_condition(p, t):
  angles = 1000 * t[:, None] * 10000.0 ** (-np.arange(128) / 128)
  h = np.concatenate([np.cos(angles), np.sin(angles)], -1)
  return plain_silu(plain_linear(p["second"], plain_silu(plain_linear(p["first"], h))))


def plain_rotate(x):
  """x [L, K]: pairs (k, k + K/2) as complex numbers, turned by position times frequency."""
  half = x.shape[-1] // 2
  turn = np.exp(1j * np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half))
  z = (x[:, :half] + 1j * x[:, half:]) * turn
  return np.concatenate([z.real, z.imag], -1)


def plain_block(p, x, c):
  parts = np.split(plain_linear(p["modulation"], c)[:, None], 6, axis=-1)
  shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = parts
  h = plain_layer_norm(x) * p["attention_norm"]["scale"] * (1 + scale_a) + shift_a
  mixed = np.zeros_like(x)
  for b in range(len(x)):
    for head in range(SMALL["heads"]):
      q, k, v = (h[b] @ p["attention"]["qkv"][:, i, head] for i in range(3))
      scores = plain_rotate(q) @ plain_rotate(k).T / np.sqrt(q.shape[-1])
      weights = np.exp(scores - scores.max(-1, keepdims=True))
      mixed[b] += weights / weights.sum(-1, keepdims=True) @ v @ p["attention"]["out"][head]
  x = x + gate_a * mixed
  h = plain_layer_norm(x) * p["feedforward_norm"]["scale"] * (1 + scale_f) + shift_f
  f = p["feedforward"]
  u = h @ f["up"] + f["up_bias"]
  u = 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))
  return x + gate_f * (u @ f["down"] + f["down_bias"])


def test_attention_looks_both_ways(base):
  params, expected = base
  changed = Z.copy()
  changed[:, 8] = (changed[:, 8] + 1) % V
  moved = np.abs(logits(network(time_conditioned=True), params, changed) - expected).max(
    axis=(0, 2)
  )
  assert (moved > 1e-4).all()


def test_time_matters_only_when_conditioned(base):
  params, expected = base
  later = T + 0.05
  assert np.abs(logits(network(time_conditioned=True), params, t=later) - expected).max() > 1e-3
  blind = network(time_conditioned=False)
  np.testing.assert_array_equal(logits(blind, params), logits(blind, params, t=later))


def test_times_of_positions_equal_times_of_rows(base):
  params, expected = base
  times = jnp.broadcast_to(T[:, None], (B, L))
  per_position = logits(network(time_conditioned=True), params, t=times)
  np.testing.assert_allclose(per_position, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ("fields", "absent"),
  [
    ({"conditioning": "none"}, ["time", "final_modulation"]),
    ({"tied_head": True}, ["head_kernel"]),
    ({"norm_weights": False, "head_bias": False}, ["final_norm", "head_bias"]),
  ],
)
def test_options_that_drop_parameters(fields, absent):
  net = network(**fields)
  params = random_params(net)
  assert not set(absent) & set(params)
  assert logits(net, params).shape == (B, L, V)


def test_columns_of_the_head_filled_up_change_nothing():
  x = jax.random.normal(jax.random.key(0), (2, 3, 8))
  kernel = jax.random.normal(jax.random.key(1), (8, 5))
  expected = layers.project(x, kernel, jnp.float32)
  np.testing.assert_array_equal(layers.project(x, kernel, jnp.float32, multiple=4), expected)
  np.testing.assert_allclose(expected, x @ kernel, rtol=1e-6)


def test_an_embedding_narrower_than_the_network_is_the_product_of_two_matrices():
  net = network(embedding_width=5)
  params = random_params(net)
  assert params["embedding"].shape == (V + 1, 5)
  whole = {name: leaf for name, leaf in params.items() if name != "embedding_kernel"}
  whole["embedding"] = params["embedding"] @ params["embedding_kernel"]
  np.testing.assert_allclose(logits(net, params), logits(network(), whole), rtol=1e-4, atol=1e-4)


def test_tied_head_is_the_embedding():
  net = network(tied_head=True)
  params = random_params(net)
  expected = hidden(net, params) @ params["embedding"][:V].T + params["head_bias"]
  np.testing.assert_allclose(logits(net, params), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fields", [{"feedforward": "glu"}, {"norm": "rms"}, {"qk_norm": True}])
def test_other_options_train(fields):
  net = network(**fields)
  slope = jax.grad(lambda p: jnp.sum(logits(net, p) ** 2))(random_params(net))
  assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in jax.tree.leaves(slope["blocks"]))


@pytest.mark.parametrize(
  ("kind", "gate"),
  [("swiglu", lambda x: plain_silu(x)), ("glu", lambda x: 1 / (1 + np.exp(-x)))],
)
def test_gated_feedforward_against_numpy(kind, gate):
  """(g(x W_gate) * x W_up) W_down, and a hidden layer of 8/3 of the width, in 64s."""
  x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
  layer = layers.Feedforward(kind, 20)
  shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
  rng = np.random.default_rng(1)
  p = {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in shapes.items()}
  assert {name: leaf.shape for name, leaf in p.items()} == {
    "gate": (8, 20),
    "up": (8, 20),
    "down": (20, 8),
  }
  expected = (gate(x @ p["gate"]) * (x @ p["up"])) @ p["down"]
  np.testing.assert_allclose(layer.apply({"params": p}, x), expected, rtol=1e-4, atol=1e-4)
  widths = {width: network(feedforward=kind, width=width).hidden_width for width in (16, 768)}
  assert widths == {16: 64, 768: 2048}  # 8/3 of 768 is 2048
  assert layers.swiglu_width(4096) == 10944  # 8/3 of it is 10922.7, which is 170.7 times 64


def test_norms_against_numpy():
  x = np.random.default_rng(0).normal(2.0, 3.0, (4, 8)).astype(np.float32)
  for kind, centred in (("layer", x - x.mean(-1, keepdims=True)), ("rms", x)):
    out, variables = layers.Norm(kind).init_with_output(jax.random.key(0), x)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    assert variables["params"]["scale"].shape == (8,)


def test_bfloat16_computes_in_it_and_stays_close(base):
  params, expected = base
  net = network(time_conditioned=True, dtype="bfloat16")
  assert hidden(net, params).dtype == jnp.bfloat16 and params["embedding"].dtype == jnp.float32
  out = logits(net, params)
  assert out.dtype == jnp.float32
  assert np.abs(out - expected).mean() < 0.05 * np.abs(expected).mean()


def test_the_residual_stream_of_float32_is_not_rounded_between_layers():
  """Before training the layers add nothing, so that it is the embedding to the last bit."""
  wide, narrow = (network(dtype="bfloat16", residual=r) for r in ("float32", "compute"))
  params = jax.jit(wide.init)(jax.random.key(0), Inputs(tokens=Z, time=T))
  assert wide.residual_dtype == jnp.float32 and hidden(wide, params).dtype == jnp.bfloat16
  exact = hidden(network(), params).astype(jnp.bfloat16)
  np.testing.assert_array_equal(hidden(wide, params), exact)
  assert (hidden(narrow, params) != exact).any()
  jaxpr = jax.make_jaxpr(lambda p: hidden(wide, p))(params).jaxpr
  within_layers = [eqn.invars[1].aval.dtype for eqn in _products(jaxpr.eqns, scanned=False)]
  assert len(within_layers) >= 6 and set(within_layers) == {jnp.dtype(jnp.bfloat16)}


def _products(eqns, scanned):
  """The products of matrices within a scan."""
  for eqn in eqns:
    if eqn.primitive.name == "dot_general" and scanned:
      yield eqn
    for inner in jax.extend.core.jaxprs_in_params(eqn.params):
      yield from _products(inner.eqns, scanned or eqn.primitive.name == "scan")


def test_the_scale_of_the_time_is_a_field(base):
  params, expected = base
  scaled = network(time_conditioned=True, time_scale=20.0)
  np.testing.assert_allclose(logits(scaled, params, t=50 * T), expected, rtol=1e-3, atol=1e-3)


def test_parameters_are_drawn_as_pytorch_s_layers_are():
  """Uniform within 1 / sqrt(fan-in), biases too; heads and modulations start at 0."""
  net = network(initialization="torch", time_conditioned=True)
  params = jax.jit(net.init)(jax.random.key(0), Inputs(tokens=Z, time=T))
  width, blocks = SMALL["width"], params["blocks"]
  limits = {
    "embedding": (params["embedding"], width),
    "qkv": (blocks["attention"]["qkv"], width),
    "out": (blocks["attention"]["out"], width),
    "up": (blocks["feedforward"]["up"], width),
    "up_bias": (blocks["feedforward"]["up_bias"], width),
    "down": (blocks["feedforward"]["down"], 4 * width),
    "down_bias": (blocks["feedforward"]["down_bias"], 4 * width),
    "time": (params["time"]["first"]["kernel"], 256),
    "time_bias": (params["time"]["second"]["bias"], SMALL["condition_width"]),
  }
  for name, (leaf, fan_in) in limits.items():
    share = np.abs(leaf) * np.sqrt(fan_in)
    assert share.max() <= 1, name
    assert share.mean() == pytest.approx(0.5, abs=0.05 if leaf.size > 100 else 0.4), name
  for leaf in (params["head_kernel"], params["head_bias"], blocks["modulation"]["bias"]):
    np.testing.assert_array_equal(leaf, 0.0)


GPT2_FORM = {"conditioning": "none", "biases": True, "learned_positions": L, "heads": 32}


def test_learned_positions_stand_in_the_place_of_rotary_ones():
  """Heads may then be of odd width; tokens that trade places with their positions trade outputs."""
  net = network(**GPT2_FORM)
  params = random_params(net)
  plain, order = logits(net, params), np.random.default_rng(1).permutation(L)
  moved = logits(net, params, Z[:, order], positions=order)
  np.testing.assert_allclose(moved, plain[:, order], rtol=1e-4, atol=1e-4)
  assert np.abs(logits(net, params, positions=order) - plain).max() > 0.1
  for ask in (
    lambda: logits(net, params, np.pad(Z, ((0, 0), (0, 1)))),
    lambda: net.empty_cache(B, L + 1),
  ):
    with pytest.raises(UserError, match="rows of 17 tokens are longer than"):
      ask()


def test_biases_are_added_to_norms_and_to_the_products_of_attention():
  net = network(**GPT2_FORM)
  params = random_params(net)
  expected = logits(net, params)
  paths = [sharding.path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  own = re.compile(r"norm/bias|(qkv|out)_bias")
  assert sum(bool(own.search(path)) for path in paths) == 5

  def without(path, leaf):
    return jnp.zeros_like(leaf) if own.search(sharding.path_name(path)) else leaf

  bare = jax.tree_util.tree_map_with_path(without, params)
  assert np.abs(logits(net, bare) - expected).max() > 0.1
  unbiased = network(**{**GPT2_FORM, "biases": False})
  shapes = jax.eval_shape(unbiased.init, jax.random.key(0), Inputs(tokens=Z, time=T))
  np.testing.assert_allclose(
    logits(unbiased, pick(bare, shapes)), logits(net, bare), rtol=1e-5, atol=1e-5
  )


def pick(params, like):
  """The part of the tree `params` that `like` has."""
  if not isinstance(like, dict):
    return params
  return {name: pick(params[name], sub) for name, sub in like.items()}


def test_rows_beyond_those_of_the_process_are_kept_and_not_read(base):
  params, expected = base
  net = network(time_conditioned=True, vocab_rows=V + 3)
  wider = random_params(net, seed=1)
  assert wider["embedding"].shape == (V + 3, 32) and wider["head_bias"].shape == (V + 3,)
  read = {
    **params,
    "embedding": wider["embedding"].at[: V + 1].set(params["embedding"]),
    "head_kernel": wider["head_kernel"].at[:, :V].set(params["head_kernel"]),
    "head_bias": wider["head_bias"].at[:V].set(params["head_bias"]),
  }
  np.testing.assert_array_equal(logits(net, read), expected)


def test_clean_tokens_have_the_time_of_the_noisy_ones_where_the_field_says_so():
  fields, inputs = {"time_conditioned": True}, {"pattern": Blocks(4), "clean": (Z + 1) % V}
  params = random_params(network(**fields))
  zero, noisy = (network(**fields, clean_time=name) for name in ("zero", "noisy"))
  assert noisy.rereads_clean_tokens and not zero.rereads_clean_tokens
  at_zero = jnp.zeros(B)
  np.testing.assert_array_equal(
    logits(zero, params, t=at_zero, **inputs), logits(noisy, params, t=at_zero, **inputs)
  )
  apart = np.abs(logits(zero, params, **inputs) - logits(noisy, params, **inputs)).max((0, 2))
  np.testing.assert_array_equal(apart > 1e-4, np.arange(L) >= 4)


def test_dropout_depends_on_the_row_s_key_alone():
  net = network(dropout=0.5)
  params = random_params(net)
  keys = jax.random.split(jax.random.key(0), B)
  whole = logits(net, params, dropout_keys=keys)
  assert np.abs(whole - logits(net, params)).max() > 1e-2
  part = logits(net, params, Z[1:2], T[1:2], dropout_keys=keys[1:2])
  np.testing.assert_allclose(whole[1:2], part, rtol=1e-4, atol=1e-4)


def test_dropout_keeps_the_mean():
  x = jnp.ones((64, 1000))
  out = layers.dropout(x, 0.3, jax.random.split(jax.random.key(0), 64))
  assert float((out == 0).mean()) == pytest.approx(0.3, abs=0.01)
  assert float(out.mean()) == pytest.approx(1.0, abs=0.01)


def test_positions_may_drop_out_the_same_entries():
  x = jnp.ones((4, 6, 100))
  keys = jax.random.split(jax.random.key(0), 4)
  alike, apart = (np.asarray(layers.dropout(x, 0.3, keys, shared)) for shared in (True, False))
  np.testing.assert_array_equal(alike, np.broadcast_to(alike[:, :1], x.shape))
  assert (apart != apart[:, :1]).any() and (alike[0] != alike[1]).any()


def test_flops_count_the_matrix_products():
  """Against the compiler, whose count is right for one layer and adds elementwise work."""
  net = network(width=128, heads=2, depth=1, conditioning="none", dropout=0.0, attention="xla")
  params = random_params(net)
  z, t = jnp.zeros((2, 64), jnp.int32), jnp.zeros(2)
  compiled = jax.jit(lambda p: logits(net, p, z, t)).lower(params).compile()
  counted = compiled.cost_analysis()["flops"]
  ours = net.flops_per_token(64) * z.size
  assert 0.85 * counted < ours <= counted


def test_the_gradient_of_the_embedding_is_summed_in_float32():
  """Thousands of positions hold the mask: in bfloat16 the sum of their gradients is 6% off."""
  z = jnp.full((4, 2048), 1).at[:, ::2].set(0)
  weights = jax.random.normal(jax.random.key(0), (*z.shape, 8), jnp.bfloat16)

  def total(table):
    return jnp.sum(embedding.embed(table, z, jnp.bfloat16) * weights, dtype=jnp.float32)

  table = jax.random.normal(jax.random.key(1), (3, 8))
  np.testing.assert_array_equal(
    embedding.embed(table, z, jnp.bfloat16), table[z].astype(jnp.bfloat16)
  )
  expected = [weights[z == row].astype(jnp.float32).sum(axis=0) for row in range(3)]
  np.testing.assert_allclose(jax.grad(total)(table), jnp.stack(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("length, size", [(12, 1), (12, 4), (13, 5), (6, 8)])
def test_visible_pairs_are_those_of_the_mask(length, size):
  index = np.arange(2 * length)
  pairs = Blocks(size).allowed(index[:, None], index, length).sum()
  assert visible_pairs(Blocks(size), length) * length == pytest.approx(pairs)
  assert visible_pairs(Causal(0), length) * length == np.tri(length).sum()
  assert visible_pairs(FULL, length) == length


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_presets_have_rules_for_every_parameter(preset):
  net = transformer.make(preset=preset, interface=GPT2)
  shapes = jax.eval_shape(net.init, jax.random.key(0), Inputs(tokens=Z, time=T))
  mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
  layout = sharding.shardings(shapes, transformer.Transformer.sharding_rules, mesh)
  spread = {str(s.spec) for s in jax.tree.leaves(layout)}
  assert any("fsdp" in s for s in spread) and any("tensor" in s for s in spread)


@pytest.mark.parametrize(("preset", "billions"), [("1b", 1.21), ("7b", 6.86)])
def test_large_presets_are_as_large_as_they_say_and_rematerialise(preset, billions):
  fields = {"interface": GPT2, "conditioning": "none", "remat": None}
  net = transformer.make(preset=preset, **fields)
  shapes = jax.eval_shape(net.init, jax.random.key(0), Inputs(tokens=Z, time=T))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e9 == pytest.approx(
    billions, rel=0.01
  )
  assert net.remat == "full"
  assert transformer.make(preset=preset, **{**fields, "remat": "dots"}).remat == "dots"


def test_a_parameter_without_a_rule_is_an_error():
  mesh = make_mesh({"data": -1})
  shapes = {"unheard_of": jax.ShapeDtypeStruct((4, 4), jnp.float32)}
  with pytest.raises(UserError, match="no sharding rule matches unheard_of"):
    sharding.shardings(shapes, transformer.Transformer.sharding_rules, mesh)


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"preset": "tinny"}, "did you mean 'tiny'"),
    ({"norm": "layre"}, "did you mean 'layer'"),
    ({"heads": 5}, "not an even multiple"),
    ({"heads": 5, "learned_positions": L}, "not a multiple"),
    ({"vocab_rows": V}, "vocab_rows is 11, but the process needs 12"),
    ({"clean_time": "nosiy"}, "did you mean 'noisy'"),
    ({"conditioning": "none", "time_conditioned": True}, "needs network.conditioning"),
    ({"attention": "cudn"}, "did you mean 'cudnn'"),
    ({"initialization": "pytorch"}, "did you mean 'torch'"),
    ({"residual": "flaot32"}, "did you mean 'float32'"),
    ({"time_input": "sgima"}, "did you mean 'sigma'"),
    ({"tied_head": True, "embedding_width": 8}, "embeddings as wide as the network"),
    ({"depht": 3}, "did you mean 'depth'"),
    ({"dropout": 1.0}, "Transformer.dropout"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    network(**fields)


def test_training_takes_labels_away_from_so_many_rows():
  net = network(num_labels=2, label_dropout=0.4, dropout=0.0)
  params, rows = random_params(net), 200
  z, t, labels = np.tile(Z[:1], (rows, 1)), jnp.zeros(rows), jnp.ones(rows, jnp.int32)
  apply = lambda keys, labels: np.asarray(  # noqa: E731
    logits(net, params, z, t, dropout_keys=keys, labels=labels)[:, 0]
  )
  told, untold = apply(None, labels), apply(None, None)
  other = apply(None, 0 * labels)
  assert min(np.abs(a - b).max() for a, b in ((told, untold), (told, other))) > 0.1
  found = apply(jax.random.split(jax.random.key(0), rows), labels)
  taken = np.isclose(found, untold, atol=1e-4).all(-1)
  np.testing.assert_allclose(found[~taken], told[~taken], atol=1e-4)
  assert abs(taken.mean() - 0.4) < 0.12


def test_labels_reach_cached_positions():
  net, causal = network(num_labels=2), Causal(begin=0)
  params, labels = random_params(net), jnp.array([0, 1, 1])
  whole = logits(net, params, pattern=causal, labels=labels)

  def cached(labels):
    inputs = Inputs(tokens=Z, time=T, labels=labels)
    hidden, _ = net.extend(
      net.unstacked(params), inputs, net.empty_cache(B, L), 0, np.tri(L, dtype=bool)
    )
    return net.head(params, hidden)

  np.testing.assert_allclose(cached(labels), whole, rtol=1e-4, atol=1e-4)
  unlabelled = cached(None)
  assert np.abs(unlabelled - whole).max() > 0.1
