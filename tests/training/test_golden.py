"""Loss and gradient norm of three steps of each process, as when it was held against its oracle.

If a change of the mathematics is meant, write the printed values into the file.
"""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.model.denoiser import PROCESS, inputs_of
from dlm_jax.model.head import Head
from dlm_jax.networks import transformer
from dlm_jax.processes import draws
from dlm_jax.processes.parts.times import Times
from dlm_jax.training import optimizer, state
from dlm_jax.training.objective import Objective
from dlm_jax.training.optimizer import OptimizerConfig
from dlm_jax.training.step import make_step

B, L, V = 8, 16, 10
GOLDEN = Path(__file__).parent.parent / "golden"
# The golden file of absorbing noise belongs to `test_step.py`.
CASES = {
  "uniform": {"name": "uniform"},
  "hybrid": {"name": "hybrid", "p_u": 0.2},
  "gidd": {"name": "gidd", "p_u": 0.2, "dynamic_weights": True},
  "duo": {"name": "duo", "curriculum_steps": 2},
  "generalized_absorbing": {"name": "generalized_absorbing"},
  "autoregressive": {"name": "autoregressive"},
  "block": {"name": "block", "block_size": 4, "clip": (0.2, 0.9)},
  "score_absorbing": {"name": "score_absorbing"},
  "score_uniform": {"name": "score_uniform"},
  "gaussian_vlb": {
    "name": "gaussian",
    "width": 4,
    "schedule": {"name": "monotone"},
    "self_conditioning": 0.5,
  },
  "gaussian_cross_entropy": {
    "name": "gaussian",
    "width": 4,
    "norm": "root",
    "objective": "cross_entropy",
    "schedule": {"name": "gumbel", "location": 1.0},
  },
}


def steps(process):
  """`[3, 2]` losses and gradient norms; the head and the modulations do not start at zero."""
  process = resolve.make("dlm_jax.processes", process, vocab_size=V)
  fields = dataclasses.asdict(process.interface)
  fields["vocab_size"] = fields.pop("columns")
  network = transformer.make(
    width=32,
    heads=2,
    depth=2,
    condition_width=16,
    dropout=0.1,
    time_conditioned=True,
    interface=process.interface,
  )
  tokens = np.random.default_rng(0).integers(0, V, (B, L), np.int32)
  state_of_one = process.prior(draws.row_keys(jax.random.key(0), 1), (1, L))
  params = jax.jit(network.init)(jax.random.key(0), inputs_of(network, state_of_one, jnp.zeros(1)))
  for i, leaf in enumerate((params, params["blocks"]["modulation"], params["final_modulation"])):
    name = "kernel" if "kernel" in leaf else "head_kernel"
    leaf[name] = 0.1 * jax.random.normal(jax.random.key(i), leaf[name].shape)
  learned = process.init(jax.random.key(3))
  if learned:
    params[PROCESS] = learned
  # A large epsilon: else a gradient that is nothing but rounding is a step of full size.
  update = optimizer.make(
    OptimizerConfig(warmup_steps=2, learning_rate=1e-2, epsilon=1e-4),
    10,
    network.matrix_axes,
    learned_schedule="schedule" in learned,
  )
  step = jax.jit(
    make_step(
      Objective(process=process, network=network, head=Head()),
      update,
      Times(),
      seed=0,
      ema_decay=0.9,
    )
  )
  current, out = state.init(params, update), []
  for _ in range(3):
    current, metrics = step(current, {"tokens": tokens})
    out.append((float(metrics["loss"]), float(metrics["gradient_norm"])))
  return np.asarray(out)


@pytest.mark.proves("golden", process="{name}")
@pytest.mark.parametrize("name", CASES)
def test_golden_loss_and_gradient_norm(name):
  values = steps(CASES[name])
  expected = np.asarray(json.loads((GOLDEN / f"{name}_step.json").read_text()))
  np.testing.assert_allclose(values, expected, rtol=2e-4, err_msg=f"now: {values.tolist()}")
