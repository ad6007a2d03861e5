"""A mixture of experts against a plain loop over tokens, whole and spread over a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.distributed.platform import compiling_for
from dlm_jax.networks import experts, llama
from dlm_jax.networks.base import Inputs
from dlm_jax.networks.grouped_products import grouped
from tests.jaxprs import largest_array
from tests.networks.random_params import random_params

B, L, D, E, K, F = 2, 5, 6, 8, 3, 4
DEEPSEEK = {"router_scores": "sigmoid", "router_bias": "choice", "router_scale": 2.5}
DEEPSEEK |= {"router_groups": 4, "router_groups_kept": 2}
ROUTERS = {
  "deepseek": DEEPSEEK,
  "qwen": {},
  "llada": {"router_renormalized": False, "router_bias": "weights"},
}
X, GRADIENT = np.random.default_rng(0).standard_normal((2, B, L, D)).astype(np.float32)


def mixture(**fields):
  return experts.ExpertMixture(experts=E, experts_per_token=K, **fields)


def plain_choice(logits, bias, router):
  """The weights of the chosen experts of one token, by expert."""
  exp = np.exp(logits)
  deepseek = router is DEEPSEEK
  scores = exp / (1 + exp) if deepseek else exp / exp.sum()
  if not deepseek:
    scores = scores + (bias if router else 0)
    best = sorted(range(E), key=lambda e: -scores[e])[:K]
    total = 1 if router else sum(scores[e] for e in best)
    return {e: scores[e] / total for e in best}
  biased = scores + bias
  groups = [(0, 1), (2, 3), (4, 5), (6, 7)]
  kept = sorted(groups, key=lambda g: -sum(sorted(biased[e] for e in g)[-2:]))[:2]
  best = sorted((e for g in kept for e in g), key=lambda e: -biased[e])[:K]
  return {e: 2.5 * scores[e] / sum(scores[b] for b in best) for e in best}


def plain(params, x, router):
  """A token at a time, an expert at a time."""
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  out = np.zeros_like(x, np.float64)
  for token, y in zip(x.reshape(-1, D), out.reshape(-1, D), strict=True):
    chosen = plain_choice(token @ p["router"], p.get("router_bias"), router)
    for e, weight in chosen.items():
      gate = token @ p["gate"][e]
      y += weight * (gate / (1 + np.exp(-gate)) * (token @ p["up"][e])) @ p["down"][e]
  return out


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
def test_a_token_is_what_its_experts_give(router):
  layer = experts.Experts(mixture(**router), F, jnp.dtype("float32"))
  params = random_params(layer, X, scale=0.5)["params"]
  run = jax.jit(lambda p, x: layer.apply({"params": p}, x))
  np.testing.assert_allclose(run(params, X), plain(params, X, router), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("number", "tensor"), [(E, 2), (6, 4)])
def test_on_a_mesh_it_gives_the_same_value_and_gradient(number, tensor):
  """Experts are spread over the tensor axis where it divides their number, else whole."""
  config = experts.ExpertMixture(experts=number, experts_per_token=K)
  layer = experts.Experts(config, F, jnp.dtype("float32"))
  params = random_params(layer, X, scale=0.5)["params"]

  def run(params, x, gradient):
    out, pull = jax.vjp(lambda p, x: layer.apply({"params": p}, x), params, x)
    return out, pull(gradient)

  expected = run(params, X, GRADIENT)
  mesh = make_mesh({"data": 2, "tensor": tensor}, jax.devices()[: 2 * tensor])
  with jax.set_mesh(mesh):
    spread = jax.jit(run)(params, X, GRADIENT)
  for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


SIZES = np.array([9, 0, 14, 3, 0], np.int32)


@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 0.1)])
def test_a_grouped_product_and_its_gradient(dtype, tolerance):
  """Three rows after the last group belong to none."""
  keys = jax.random.split(jax.random.key(0), 3)
  number = SIZES.sum()
  rows, kernels = jax.random.normal(keys[0], (29, 5)), jax.random.normal(keys[1], (5, 5, 7))
  gradient = jax.random.normal(keys[2], (number, 7))
  group_of_row = np.repeat(np.arange(5), SIZES)
  ours = lambda r, k: grouped(r, k, SIZES, jnp.dtype(dtype))[:number]  # noqa: E731
  loop = lambda r, k: jnp.einsum("mi,mio->mo", r[:number], k[group_of_row])  # noqa: E731
  actual, pull = jax.vjp(ours, rows, kernels)
  expected, pull_plain = jax.vjp(loop, rows, kernels)
  np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
  of_rows, of_kernels = pull(gradient)
  expected_of_rows, expected_of_kernels = pull_plain(gradient)
  np.testing.assert_allclose(
    of_rows[:number], expected_of_rows[:number], rtol=tolerance, atol=tolerance
  )
  np.testing.assert_allclose(of_kernels, expected_of_kernels, rtol=tolerance, atol=tolerance)


def test_no_expert_works_on_the_tokens_of_others():
  """On no platform does an array hold every token for every expert."""
  rows, kernels, sizes = jnp.zeros((1024, 16)), jnp.zeros((32, 16, 16)), jnp.full(32, 32)

  def run(rows, kernels):
    return jax.grad(lambda *a: jnp.sum(grouped(*a, sizes, jnp.float32)), (0, 1))(rows, kernels)

  assert largest_array(run, rows, kernels) < 2 * rows.size
  with compiling_for("tpu"):
    product = jax.make_jaxpr(lambda *a: grouped(*a, sizes, jnp.float32))(rows, kernels)
  assert "ragged_dot" in str(product)


def network(**fields):
  small = {"width": 16, "heads": 2, "depth": 3, "experts": E, "experts_per_token": K}
  interface = NetworkInterface(columns=7, num_embeddings=8)
  return llama.make(interface=interface, **{**small, **fields})


def test_flops_count_the_experts_that_a_token_uses():
  net = network(dense_layers=1, shared_experts=2, expert_width=5, feedforward_width=12)
  inputs = Inputs(tokens=np.zeros((1, 4), np.int32), time=jnp.zeros(1))
  params = jax.eval_shape(net.init, jax.random.key(0), inputs)
  stacks = {**params["layers"]}
  own = stacks.pop("experts")
  size = lambda tree: sum(a.size for a in jax.tree.leaves(tree) if a.ndim > 2)  # noqa: E731
  used = size(stacks) + size(own) * K / E + (1 - K / E) * own["router"].size
  per_token = used + size(params["dense_layers"]) + 3 * 2 * 4 * 16 + 16 * 7
  assert net.flops_per_token(4) == 2 * per_token


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"experts": 0, "dense_layers": 1}, "are those of a mixture of experts"),
    ({"dense_layers": 3}, "leaves no layer of network.depth 3"),
    ({"router_groups": 3}, "must divide network.experts 8"),
    ({"router_groups": 2, "router_groups_kept": 3}, "no less than network.router_groups_kept 3"),
    ({"router_groups": 4, "experts_per_token": 3}, "3 is more than the 2 experts"),
    ({"router_scores": "sigmod"}, "did you mean 'sigmoid'"),
    ({"router_bias": "choise"}, "did you mean 'choice'"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    network(**fields)
