"""Every network holds the contract of `networks/base.py`; a new file is found by itself."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.distributed import sharding
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.networks.base import Caches, Inputs
from tests.networks.random_params import random_params

B, L, V = 2, 8, 7
NAMES = resolve.names("dlm_jax.networks")
INTERFACE = NetworkInterface(columns=V, num_embeddings=V + 1)
TOKENS, CLEAN = np.random.default_rng(0).integers(0, V, (2, B, L), np.int32)
INPUTS = Inputs(tokens=TOKENS, time=jnp.asarray([0.2, 0.7]))
PATTERNS = (FULL, Causal(begin=0), BlockCausal(4), Blocks(4))


def network(name, interface=INTERFACE, **fields):
  small = {"width": 16, "heads": 2, "depth": 2, "dropout": 0.0}
  fields = {"name": name, **small, **fields}
  return resolve.make("dlm_jax.networks", fields, interface=interface)


@partial(jax.jit, static_argnums=0)
def logits(net, params, inputs):
  return net.head(params, net.hidden(params, inputs))


# Beside the defaults of each network: layers of two kinds, one with every part of a mixture.
EXPERTS = {"experts": 6, "experts_per_token": 2, "dense_layers": 1, "shared_experts": 1}
EXPERTS |= {"router_bias": "weights", "router_groups": 3, "router_groups_kept": 2}


@pytest.fixture(scope="module", params=[*NAMES, "llama of experts"])
def case(request):
  name, _, of_experts = request.param.partition(" of ")
  net = network(name, **(EXPERTS if of_experts else {}))
  return net, random_params(net, INPUTS)


def test_it_gives_finite_float32_outputs_of_the_columns_that_are_asked_for(case):
  net, params = case
  out = logits(net, params, INPUTS)
  assert out.shape == (B, L, V) and out.dtype == jnp.float32 and np.isfinite(out).all()
  low = dataclasses.replace(net, dtype="bfloat16")
  assert low.compute_dtype == jnp.bfloat16
  assert net.hidden(params, INPUTS).dtype == net.compute_dtype
  assert low.hidden(params, INPUTS).dtype == jnp.bfloat16
  assert logits(low, params, INPUTS).dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(net.init(jax.random.key(0), INPUTS))} == {
    jnp.dtype("float32")
  }


def test_every_parameter_has_a_gradient(case):
  net, params = case
  slope = jax.grad(lambda p: jnp.sum(jnp.sin(logits(net, p, INPUTS))))(params)
  for path, leaf in jax.tree_util.tree_leaves_with_path(slope):
    assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, sharding.path_name(path)


def test_every_parameter_has_a_sharding_rule_and_matrices_have_axes(case):
  net, params = case
  sharding.shardings(params, net.sharding_rules, make_mesh({"data": -1}))
  paths = {sharding.path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(params)}
  assert net.matrix_axes
  for expression, summed, produced in net.matrix_axes:
    found = [leaf for path, leaf in paths.items() if re.search(expression, path)]
    assert found, expression
    assert all(max(*summed, *produced) < leaf.ndim for leaf in found)
    assert not set(summed) & set(produced)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_position_sees_what_its_pattern_shows(case, pattern):
  """A token is changed: the outputs that move are those that see it."""
  net, params = case
  if not isinstance(pattern, net.patterns):
    with pytest.raises(UserError, match="alone: choose another"):
      net.check_pattern(pattern)
    return
  changed = TOKENS.copy()
  changed[:, 5] = (changed[:, 5] + 1) % V
  inputs = dataclasses.replace(INPUTS, pattern=pattern, clean=CLEAN)
  other = dataclasses.replace(inputs, tokens=changed)
  moved = np.abs(logits(net, params, inputs) - logits(net, params, other)).max(axis=(0, 2)) > 1e-6
  index = np.arange(L)
  sees = {
    "Full": index >= 0,
    "Causal": index >= 5,
    "BlockCausal": index >= 4,
    "Blocks": index >= 4,
  }[type(pattern).__name__]
  np.testing.assert_array_equal(moved, sees)
  if isinstance(pattern, Blocks):
    cleaned = CLEAN.copy()
    cleaned[:, 1] = (cleaned[:, 1] + 1) % V
    other = dataclasses.replace(inputs, clean=cleaned)
    moved = np.abs(logits(net, params, inputs) - logits(net, params, other)).max(axis=(0, 2))
    np.testing.assert_array_equal(moved > 1e-6, index >= 4)


@pytest.mark.parametrize("pattern", PATTERNS[1:3], ids=str)
def test_cached_equals_uncached(case, pattern):
  net, params = case
  if not isinstance(net, Caches):
    pytest.skip("this network keeps no keys and values")
  whole = logits(net, params, dataclasses.replace(INPUTS, pattern=pattern))
  cache, parts = net.empty_cache(B, L + 2), []
  for start in (0, 4):
    positions = start + np.arange(4)
    inputs = dataclasses.replace(INPUTS, tokens=TOKENS[:, start : start + 4], positions=positions)
    mask = np.arange(L + 2) <= pattern.last_seen(positions)[:, None]
    hidden, cache = net.extend(net.unstacked(params), inputs, cache, jnp.int32(start), mask)
    parts.append(net.head(params, hidden))
  np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-5)


def test_invalid_positions_take_no_part(case):
  net, params = case
  valid = np.arange(L) < np.array([[5], [L]])
  padded = dataclasses.replace(INPUTS, valid=valid)
  other = dataclasses.replace(padded, tokens=np.where(valid, TOKENS, (TOKENS + 3) % V))
  out = logits(net, params, padded)
  np.testing.assert_array_equal(out[valid], logits(net, params, other)[valid])
  alone = Inputs(tokens=TOKENS[:1, :5], time=INPUTS.time[:1])
  np.testing.assert_allclose(out[:1, :5], logits(net, params, alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_time_matters_where_the_network_says_so(name):
  for conditioned in (False, True):
    net = network(name, time_conditioned=conditioned)
    params = random_params(net, INPUTS)
    later = dataclasses.replace(INPUTS, time=INPUTS.time + 0.1)
    moved = np.abs(logits(net, params, INPUTS) - logits(net, params, later)).max() > 1e-5
    assert net.knows_time == conditioned == moved


@pytest.mark.parametrize("name", NAMES)
def test_labels_matter_or_are_refused(name):
  fields = {"width": 16, "heads": 2, "depth": 1}
  make = resolve.module("dlm_jax.networks", name).make
  try:
    net = make(interface=INTERFACE, num_labels=2, **fields)
  except UserError:
    return
  params = random_params(net, INPUTS)
  label = lambda *labels: logits(net, params, dataclasses.replace(INPUTS, labels=jnp.array(labels)))  # noqa: E731
  np.testing.assert_allclose(label(0, 1)[1], label(1, 1)[1], rtol=1e-5, atol=1e-6)
  assert np.abs(label(0, 1)[0] - label(1, 1)[0]).max() > 1e-3
  np.testing.assert_allclose(logits(net, params, INPUTS), label(2, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_mixtures_and_continuous_states(name):
  net = network(name)
  params = random_params(net, INPUTS)
  pairs = jnp.stack([TOKENS, TOKENS + 1], axis=-1)
  certain = SoftTokens(pairs, jnp.broadcast_to(jnp.array([1.0, 0.0]), pairs.shape))
  for pattern in (FULL, Blocks(4)):
    if isinstance(pattern, net.patterns):
      plain = dataclasses.replace(INPUTS, pattern=pattern, clean=CLEAN)
      soft = dataclasses.replace(plain, tokens=certain)
      np.testing.assert_allclose(
        logits(net, params, soft), logits(net, params, plain), rtol=1e-4, atol=1e-5
      )
  interface = NetworkInterface(columns=V, num_embeddings=V, state_width=3, self_conditioned=True)
  net = network(name, interface)
  states, earlier = jax.random.normal(jax.random.key(1), (2, B, L, 3))
  inputs = Inputs(states=states, time=INPUTS.time, self_condition=earlier)
  params = random_params(net, inputs)
  out = logits(net, params, inputs)
  assert out.shape == (B, L, V)
  without = dataclasses.replace(inputs, self_condition=None)
  assert np.abs(out - logits(net, params, without)).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_flops_count_the_matrix_products(name):
  """Against the compiler, whose count is right for one layer and adds elementwise work."""
  net = network(name, width=128, depth=1, attention="xla")
  inputs = Inputs(tokens=np.zeros((2, 64), np.int32), time=jnp.zeros(2))
  params = random_params(net, inputs)
  compiled = jax.jit(lambda p: logits(net, p, inputs)).lower(params).compile()
  ours = net.flops_per_token(64) * 2 * 64
  assert 0.8 * compiled.cost_analysis()["flops"] < ours <= compiled.cost_analysis()["flops"]
  assert net.flops_per_token(64, Causal(begin=0)) < net.flops_per_token(64)
  head = 2 * 128 * net.interface.columns
  assert net.flops_per_token(64, scored=0.25) == net.flops_per_token(64) - 0.75 * head
