"""The training step: what it is invariant to, what it refuses to apply, and golden values."""

import json
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.distributed import sharding
from dlm_jax.distributed.mesh import batch_shards, make_mesh
from dlm_jax.model.head import Head
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.processes import absorbing
from dlm_jax.processes.parts.times import Times
from dlm_jax.training import optimizer, state
from dlm_jax.training.objective import Objective
from dlm_jax.training.optimizer import OptimizerConfig
from dlm_jax.training.step import compile_step, make_step

B, L, V = 8, 16, 10
TOKENS = np.random.default_rng(0).integers(0, V, (B, L), np.int32)
GOLDEN = Path(__file__).parent.parent / "golden" / "absorbing_step.json"
MESHES = {
  "one": None,
  "data": {"data": 8},
  "fsdp": {"fsdp": 8},
  "2x2x2": {"data": 2, "fsdp": 2, "tensor": 2},
}


@cache
def parts(name):
  """Process, network, optimizer and a first state whose head and modulations are not zero."""
  process = absorbing.make(vocab_size=V)
  net = transformer.make(
    width=32, heads=2, depth=2, interface=process.interface, condition_width=16, dropout=0.1
  )
  config = OptimizerConfig(name=name, warmup_steps=2, learning_rate=1e-2)
  update = optimizer.make(config, 10, net.matrix_axes)
  params = jax.jit(net.init)(jax.random.key(0), Inputs(tokens=TOKENS[:1], time=jnp.zeros(1)))
  head = params["head_kernel"]
  params["head_kernel"] = 0.1 * jax.random.normal(jax.random.key(1), head.shape)
  kernel = params["blocks"]["modulation"]["kernel"]
  params["blocks"]["modulation"]["kernel"] = 0.1 * jax.random.normal(
    jax.random.key(2), kernel.shape
  )
  return process, net, update, params


def step_of(name="adamw", *, accumulate=1, head=None, seed=0):
  process, net, update, params = parts(name)
  step = make_step(
    Objective(process=process, network=net, head=head or Head()),
    update,
    Times(),
    seed=seed,
    accumulate=accumulate,
    ema_decay=0.9,
  )
  return step, state.init(params, update)


def run(step, start, steps=3, batch=None):
  """Losses, gradient norms and the last state of some steps on the same batch."""
  step, out, current = jax.jit(step), [], start
  for _ in range(steps):
    current, metrics = step(current, batch or {"tokens": TOKENS})
    out.append((float(metrics["loss"]), float(metrics["gradient_norm"])))
  return np.asarray(out), current


def assert_close(a, b, rtol=1e-5, atol=1e-6):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def test_the_same_step_twice_is_the_same():
  (a, first), (b, second) = run(*step_of()), run(*step_of())
  np.testing.assert_array_equal(a, b)
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_the_seed_and_the_step_change_the_noise():
  (a, _), (b, _) = run(*step_of()), run(*step_of(seed=1))
  assert abs(a[0, 0] - b[0, 0]) > 1e-3
  frozen, start = step_of()
  losses = [float(jax.jit(frozen)(later(start, n), {"tokens": TOKENS})[1]["loss"]) for n in (0, 1)]
  assert abs(losses[0] - losses[1]) > 1e-3


def later(start, n):
  return state.TrainState(**{**vars(start), "step": jnp.int32(n)})


@pytest.mark.parametrize("accumulate", [2, 8])
def test_accumulation_equals_the_large_batch(accumulate):
  """Same times, same noise, same dropout: only the order of the sums differs."""
  given = np.arange(L) >= np.arange(4, 4 + B)[:, None]  # rows with 4, 5, ... scored positions
  batch = {"tokens": TOKENS, "given": given}
  whole, first = run(*step_of(), batch=batch)
  parted, second = run(*step_of(accumulate=accumulate), batch=batch)
  np.testing.assert_allclose(parted, whole, rtol=2e-5)
  assert_close(second.params, first.params, rtol=1e-3, atol=2e-5)


def test_positions_that_are_noised_and_not_scored_have_no_part_in_the_loss():
  """Each position's loss depends on all states, and only its own term is left out."""
  pads = np.zeros((B, L), bool)
  pads[:, L // 2 :] = True
  step, start = step_of()
  losses = [
    float(jax.jit(step)(start, {"tokens": TOKENS, **masks})[1]["loss"])
    for masks in ({}, {"unscored": pads}, {"unscored": ~pads}, {"given": pads})
  ]
  whole, left, right, given = losses
  assert (left + right) / 2 == pytest.approx(whole, rel=1e-5)
  assert abs(left - given) > 1e-3  # what is given is not noised


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("shape", [m for m in MESHES if m != "one"])
def test_meshes_give_the_same_losses(shape, name):
  alone, _ = run(*step_of(name))
  mesh = make_mesh(MESHES[shape])
  head = Head(few=True, groups=batch_shards(mesh), chunks=4)
  step, start = step_of(name, head=head)
  shapes = jax.eval_shape(lambda: start)
  rules = (*transformer.Transformer.sharding_rules, *optimizer.SHARDING_RULES)
  layout = sharding.shardings(shapes, rules, mesh)
  abstract = jax.tree.map(
    lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, layout
  )
  compiled = compile_step(step, abstract, mesh)
  # Copies: the step donates its state.
  current = jax.tree.map(lambda a, where: jax.device_put(jnp.copy(a), where), start, layout)
  out = []
  with jax.set_mesh(mesh):
    for _ in range(3):
      current, metrics = compiled(current, sharding.to_global({"tokens": TOKENS}, mesh))
      out.append((float(metrics["loss"]), float(metrics["gradient_norm"])))
  np.testing.assert_allclose(out, alone, rtol=2e-4)
  if shape != "data":
    qkv = current.params["blocks"]["attention"]["qkv"]
    assert qkv.addressable_shards[0].data.size < qkv.size  # it really is spread


@pytest.mark.parametrize("head", [Head(chunks=4), Head(chunks=4, few=True)], ids=str)
def test_the_head_s_economies_change_nothing(head):
  plain, first = run(*step_of())
  ours, second = run(*step_of(head=head))
  np.testing.assert_allclose(ours, plain, rtol=1e-5)
  assert_close(second.params, first.params, rtol=1e-3, atol=1e-5)


def test_given_positions_carry_no_loss():
  """The tokens at given positions are seen but not scored; with all given there is no loss."""
  step, start = step_of()
  nothing = {"tokens": TOKENS, "given": np.ones((B, L), bool)}
  _, metrics = jax.jit(step)(start, nothing)
  assert float(metrics["loss"]) == 0.0 and float(metrics["gradient_norm"]) == 0.0


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_that_is_not_finite_keeps_everything(name):
  step, start = step_of(name)
  step = jax.jit(step)
  good, _ = step(start, {"tokens": TOKENS})
  poisoned = state.TrainState(
    **{**vars(good), "params": {**good.params, "head_bias": jnp.full(V, jnp.nan)}}
  )
  bad, metrics = step(poisoned, {"tokens": TOKENS})
  assert not np.isfinite(metrics["loss"])
  assert (int(bad.step), int(bad.skipped), int(bad.skipped_in_a_row)) == (2, 1, 1)
  for field in ("params", "ema", "opt_state"):
    kept, before = getattr(bad, field), getattr(poisoned, field)
    jax.tree.map(np.testing.assert_array_equal, kept, before)
  healed = state.TrainState(**{**vars(bad), "params": good.params})
  fine, _ = step(healed, {"tokens": TOKENS})
  assert (int(fine.skipped), int(fine.skipped_in_a_row)) == (1, 0)
  assert np.isfinite(jax.tree.leaves(fine.params)[0]).all()


def test_the_average_warms_up():
  np.testing.assert_allclose(state.warm_decay(jnp.asarray([0.0, 8.0, 1e6]), 0.99), [0.1, 0.5, 0.99])
  step, start = step_of()
  after, _ = jax.jit(step)(start, {"tokens": TOKENS})
  expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, start.params, after.params)
  assert_close(after.ema, expected, rtol=1e-4)


def test_the_loss_falls():
  """On rows of one symbol each; what is compared differs in the parameters alone, not in noise."""
  batch = {"tokens": np.repeat(np.arange(B, dtype=np.int32)[:, None], L, axis=1)}
  step, start = step_of()
  _, end = run(step, start, steps=40, batch=batch)
  before, after = (float(jax.jit(step)(later(s, 0), batch)[1]["loss"]) for s in (start, end))
  assert after < 0.7 * before


@pytest.mark.proves("golden", process="absorbing")
def test_golden_loss_and_gradient_norm():
  """Loss and gradient norm of three steps as they were when the code was held against its oracles.

  If a change of the mathematics is meant, write the printed values into the file.
  """
  values, _ = run(*step_of())
  expected = np.asarray(json.loads(GOLDEN.read_text()))
  np.testing.assert_allclose(values, expected, rtol=2e-4, err_msg=f"now: {values.tolist()}")
