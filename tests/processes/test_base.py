"""What every process has by default, and what a wrapper forwards: all of it, by enumeration."""

import inspect
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.patterns import FULL
from dlm_jax.processes import base, facets
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.wrapper import Wrapper

MEMBERS = [name for name in vars(Process) if not name.startswith("_")]
# These give a process again: the wrapper around that of `inner`.
OF_A_PROCESS = ("bind", "at_step")


def answering(names, cls=Process):
  """A class of processes whose members `names` answer with their own name."""

  def answer(name):
    original = inspect.getattr_static(cls, name, None)
    if isinstance(original, property) or name in ("mask_id", "width", "embeddings"):
      return property(lambda self: name)
    return lambda self, *args, **fields: name

  return type("Answering", (cls,), {name: answer(name) for name in names})


def call(process, name):
  value = getattr(process, name)
  if not callable(value):
    return value
  parameters = inspect.signature(value).parameters.values()
  return value(*[None for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD])


@dataclass(frozen=True, kw_only=True)
class Stepping(Process):
  """A process that holds what it was bound to, and the step."""

  learned: object = None
  step: object = None

  def bind(self, params):
    return Stepping(vocab_size=self.vocab_size, learned=params, step=self.step)

  def at_step(self, step):
    return Stepping(vocab_size=self.vocab_size, learned=self.learned, step=step)


@pytest.mark.parametrize("name", [n for n in MEMBERS if n not in OF_A_PROCESS])
def test_a_wrapper_forwards_every_member(name):
  inner = answering([name])(vocab_size=3)
  wrapped = Wrapper(inner=inner)
  assert call(wrapped, name) == name


def test_a_wrapper_binds_and_steps_what_it_wraps():
  wrapped = Wrapper(inner=Stepping(vocab_size=3)).bind("params").at_step(7)
  assert isinstance(wrapped, Wrapper) and wrapped.vocab_size == 3
  assert (wrapped.inner.learned, wrapped.inner.step) == ("params", 7)


@pytest.mark.parametrize("facet", facets.FACETS, ids=lambda facet: facet.__name__)
def test_a_wrapper_has_the_facets_of_the_instance(facet):
  inner = answering(facets.members(facet))(vocab_size=3)
  assert isinstance(inner, facet) and not isinstance(Process(vocab_size=3), facet)
  wrapped = Wrapper(inner=Wrapper(inner=inner))
  assert facets.of(wrapped) == facets.of(inner)
  for name in facets.members(facet):
    assert call(wrapped, name) == name
  assert not facets.of(Wrapper(inner=Process(vocab_size=3)))


def test_by_default_a_process_learns_nothing_and_sees_all():
  process = Process(vocab_size=3)
  assert process.init(jax.random.key(0)) == {} and process.bind({}) is process
  assert process.at_step(jnp.int32(3)) is process and process.precondition(len) is len
  assert process.pattern == FULL and process.constants() == 0.0
  assert (process.exact, process.coupled, process.num_evaluations) == (False, False, 1)
  assert (process.interface.columns, process.interface.num_embeddings) == (3, 3)


def test_free_positions_are_those_that_are_not_given():
  given = jnp.array([[True, False]])
  np.testing.assert_array_equal(base.free(given, (1, 2)), [[False, True]])
  np.testing.assert_array_equal(base.free(None, (1, 2)), [[True, True]])


def test_another_prediction_keeps_no_estimate():
  prediction = Prediction(jnp.zeros((1, 1, 2)), jnp.ones((1, 1)))
  other = prediction.with_log_probs(jnp.ones((1, 1, 2)))
  assert other.estimate is None and float(other.log_probs.sum()) == 2.0


def test_conditioning_reaches_a_call_and_a_score():
  class Scores:
    def __call__(self, z, t, *, clean):
      return z + t + clean

    def score(self, z, t, score, operands, where, *, clean):
      return jnp.where(where, score(z + t + clean, *operands), -1.0)

  ones, where = jnp.ones((1, 2)), jnp.array([[True, False]])
  denoise = base.conditioned(Scores(), clean=5.0)
  assert isinstance(denoise, base.ScoresPositions)
  assert not isinstance(base.conditioned(lambda z, t: z, clean=5.0), base.ScoresPositions)
  np.testing.assert_array_equal(denoise(ones, 1.0), [[7.0, 7.0]])
  found = base.score_positions(denoise, ones, 1.0, lambda output, x: output * x, (2 * ones,), where)
  np.testing.assert_array_equal(found, [[14.0, -1.0]])


def test_nll_leaves_a_forbidden_column_out():
  logits = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
  for forbidden, total in ((None, 8.0), (2, 3.0)):
    found = base.nll(forbidden)(logits, jnp.array([1]))
    np.testing.assert_allclose(found, -np.log(2.0 / total), rtol=1e-6)
