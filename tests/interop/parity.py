"""The fixtures: small random checkpoints in public layouts, with the logits of reference code.

A folder a family under `fixtures/`: `config.json` and `model.safetensors` as published, and
`expected.npz` with inputs and logits (float32, as the network gives them, never shifted).
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.core.patterns import FULL
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.interop import hugging_face
from dlm_jax.networks.base import Inputs

FIXTURES = Path(__file__).parent / "fixtures"
# Two correct float32 programs differ by up to 5e-6 at logits of about 8.
TOLERANCE = 1e-5


@functools.cache
def expected(name):
  return dict(np.load(FIXTURES / name / "expected.npz"))


@functools.cache
def opened(name):
  """The checkpoint, its network and its parameters."""
  found = hugging_face.read(str(FIXTURES / name))
  network = found.description.build_network(dtype="float32")
  params = found.params(network, make_mesh({"data": -1}), jnp.dtype("float32"))
  return found, network, params


def logits(name, tokens, pattern=FULL, time=None, **fields):
  """What the network gives, under one program a shape and pattern."""
  params = opened(name)[2]
  time = jnp.zeros(len(tokens)) if time is None else jnp.asarray(time)
  inputs = Inputs(tokens=jax.tree.map(jnp.asarray, tokens), time=time, pattern=pattern, **fields)
  return np.asarray(_program(name)(params, inputs))


@functools.cache
def _program(name):
  network = opened(name)[1]
  return jax.jit(lambda params, inputs: network.head(params, network.hidden(params, inputs)))


def assert_close(found, wanted, where=None):
  """All logits, or those at the positions `where`, within `TOLERANCE`."""
  where = np.ones(wanted.shape[:2], bool) if where is None else where.astype(bool)
  np.testing.assert_allclose(found[where], wanted[where], rtol=0, atol=TOLERANCE)
