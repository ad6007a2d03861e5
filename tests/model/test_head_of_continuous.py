"""A continuous process with logits in pieces: equal to all at once, and never [B, L, V] numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.evaluation.probability_flow import ProbabilityFlow
from dlm_jax.model.denoiser import Denoiser, bound
from dlm_jax.model.head import Head
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.processes import gaussian
from dlm_jax.samplers import loops
from tests.jaxprs import largest_array
from tests.networks.random_params import random_params
from tests.samplers import drawing

B, L, V, W = 2, 16, 211, 4
TOKENS = np.random.default_rng(0).integers(0, V, (B, L), np.int32)
T = jnp.array([0.3, 0.8])
KEY = jax.random.key(0)
WHOLE, IN_PIECES = Head(), Head(chunks=L)
LOGITS = {
  "shared_head": True,
  "self_conditioning": 1.0,
  "objective": "cross_entropy",
  "schedule": {"name": "gumbel", "location": 0.0},
}


def parts(vocab_size=V, **fields):
  """A process, a network of the width that it needs, and parameters of both."""
  process = gaussian.make(vocab_size=vocab_size, width=W, **fields)
  shape = {"width": 16, "heads": 2, "depth": 1, "condition_width": 8}
  network = transformer.make(interface=process.interface, **shape)
  z = jnp.zeros((B, L, W))
  earlier = z if process.self_conditioning else None
  params = random_params(network, Inputs(states=z, time=T, self_condition=earlier))
  return process, network, params | {"process": process.init(jax.random.key(1))}


def with_head(process, network, head, function, params):
  """`function(process, denoise)` with the parameters in place."""
  return function(*bound(process, Denoiser(network, params, head)))


def loss(process, denoise):
  return process.loss(KEY, denoise, TOKENS, T).sum()


def sample(sampler, process, denoise, **fields):
  keys = jax.random.split(KEY, B)
  request = drawing.request(keys, L, steps=2, trajectory=True, **fields)
  return loops.sample(drawing.make(sampler), process, denoise, request)


@pytest.mark.parametrize("objective", ["vlb", "cross_entropy"])
def test_pieces_change_neither_loss_nor_gradients(objective):
  process, network, params = parts(**LOGITS | {"objective": objective, "shared_head": False})

  def values(head):
    run = partial(with_head, process, network, head, loss)
    return jax.jit(jax.value_and_grad(run))(params)

  # Of float32 sums in another order.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=5e-5 * np.abs(b).max()),
    values(IN_PIECES),
    values(WHOLE),
  )


def test_pieces_do_not_change_what_is_drawn():
  process, network, params = parts(**LOGITS)

  def tokens(head):
    draw = partial(sample, "heun", temperature=0.8, top_k=50)
    return jax.jit(partial(with_head, process, network, head, draw))(params).tokens

  np.testing.assert_array_equal(tokens(IN_PIECES), tokens(WHOLE))


@pytest.mark.parametrize("parameterization", ["categorical", "x"])
def test_all_logits_of_a_large_vocabulary_are_never_held(parameterization):
  size = 2**22
  fields = LOGITS if parameterization == "categorical" else {"parameterization": "x"}
  made = []
  params = jax.eval_shape(lambda: made.extend(parts(size, **fields)) or made[2])
  process, network, _ = made
  head = Head.of(process, mesh=None)
  nelbo = lambda process, denoise: process.nelbo(KEY, denoise, TOKENS, T).sum()  # noqa: E731
  cases = {
    "gradient": loss,
    "bound": nelbo,
    "flow": lambda process, denoise: ProbabilityFlow(process, 2).nelbo(KEY, denoise, TOKENS, T),
    "ancestral": partial(sample, "ancestral"),
    "filtered": partial(sample, "ddim", top_p=0.9),
  }
  for name, case in cases.items():
    run = partial(with_head, process, network, head, case)
    assert largest_array(jax.grad(run) if name == "gradient" else run, params) < B * L * size, name
  if parameterization == "categorical":
    assert largest_array(partial(with_head, process, network, WHOLE, nelbo), params) >= B * L * size
