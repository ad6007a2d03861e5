"""Cross-entropy in chunks and at gathered positions equals the plain one, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.model.head import Head
from dlm_jax.processes.base import nll

B, L, D, V = 4, 12, 8, 17
HIDDEN = jax.random.normal(jax.random.key(0), (B, L, D))
KERNEL = jax.random.normal(jax.random.key(1), (D, V))
TARGETS = jax.random.randint(jax.random.key(2), (B, L), 0, V - 1)
WHERE = jax.random.bernoulli(jax.random.key(3), 0.4, (B, L))
FORBIDDEN = V - 1


def plain(hidden, kernel, where=WHERE, forbidden=None):
  logits = np.asarray(hidden @ kernel, np.float64)
  if forbidden is not None:
    logits = np.delete(logits, forbidden, axis=-1)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return np.where(where, -np.take_along_axis(log_p, np.asarray(TARGETS)[..., None], -1)[..., 0], 0)


def cross_entropy(hidden, apply, settings=Head(), forbidden=None):  # noqa: B008
  return settings.score(hidden, apply, nll(forbidden), (TARGETS,), WHERE)


def with_gradients(loss):
  """Loss `[B, L]` and the gradients of a weighted sum of it by hidden states and head."""
  weights = jnp.arange(1.0, B * L + 1).reshape(B, L)

  def total(hidden, kernel):
    out = loss(hidden, lambda h: h @ kernel)
    return jnp.sum(weights * out), out

  (_, out), slopes = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(HIDDEN, KERNEL)
  return out, *slopes


def reference(forbidden=None):
  return with_gradients(lambda h, head: cross_entropy(h, head, forbidden=forbidden))


@pytest.mark.parametrize("forbidden", [None, FORBIDDEN])
def test_plain_is_softmax_cross_entropy(forbidden):
  out = cross_entropy(HIDDEN, lambda h: h @ KERNEL, forbidden=forbidden)
  np.testing.assert_allclose(out, plain(HIDDEN, KERNEL, forbidden=forbidden), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunks", [2, 4, 12])
@pytest.mark.parametrize("forbidden", [None, FORBIDDEN])
def test_chunks_change_nothing(chunks, forbidden):
  ours = with_gradients(lambda h, head: cross_entropy(h, head, Head(chunks), forbidden))
  for a, b in zip(ours, reference(forbidden), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_chunks_never_hold_all_logits():
  def biggest(chunks):
    def total(hidden):
      out = cross_entropy(hidden, lambda h: h @ KERNEL, Head(chunks))
      return out.sum()

    jaxpr = jax.make_jaxpr(jax.grad(total))(HIDDEN)
    return max(size for size in _sizes(jaxpr.jaxpr))

  assert biggest(1) >= B * L * V
  assert biggest(12) < B * L * V


def _sizes(jaxpr):
  for equation in jaxpr.eqns:
    yield from (v.aval.size for v in equation.outvars if hasattr(v.aval, "size"))
    for value in equation.params.values():
      for inner in value if isinstance(value, (tuple, list)) else (value,):
        if hasattr(inner, "jaxpr"):
          inner = inner.jaxpr
        if hasattr(inner, "eqns"):
          yield from _sizes(inner)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("capacity", [0.25, 0.6, 1.0], ids=["overflows", "fits", "all"])
def test_gathered_equals_plain_also_when_it_overflows(groups, chunks, capacity):
  ours = with_gradients(
    lambda h, head: cross_entropy(h, head, Head(chunks, capacity, groups), FORBIDDEN)
  )
  for a, b in zip(ours, reference(FORBIDDEN), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_gathered_applies_the_head_to_its_slots_only():
  rows = []

  def head(h):
    rows.append(h.shape)
    return h @ KERNEL

  where = jnp.zeros((B, L), bool).at[:, :3].set(True)
  jax.eval_shape(
    lambda h: Head(capacity=0.5, groups=2).score(h, head, nll(None), (TARGETS,), where), HIDDEN
  )
  assert (2, B * L // 4, D) in rows


def test_overflow_counts_what_does_not_fit():
  where = jnp.zeros((B, L), bool).at[0].set(True).at[1, :5].set(True)
  # Two groups of two rows, 24 positions each; half of them is 12 slots a group.
  assert int(Head(capacity=0.5, groups=2).overflow(where)) == 5
  assert int(Head(capacity=0.5, groups=1).overflow(where)) == 0
  assert int(Head(capacity=1.0, groups=4).overflow(where)) == 0
