"""Scores in pieces, and of the scored positions alone, equal the plain ones with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.model.head import Head
from dlm_jax.processes.base import nll
from tests.jaxprs import largest_array

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
  head = Head(chunks=chunks)
  ours = with_gradients(lambda h, apply: cross_entropy(h, apply, head, forbidden))
  for a, b in zip(ours, reference(forbidden), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_chunks_never_hold_all_logits():
  def biggest(chunks):
    def total(hidden):
      out = cross_entropy(hidden, lambda h: h @ KERNEL, Head(chunks=chunks))
      return out.sum()

    return largest_array(jax.grad(total), HIDDEN)

  assert biggest(1) >= B * L * V
  assert biggest(12) < B * L * V


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("chunks", [2, 12])
def test_scored_positions_first_changes_nothing(groups, chunks):
  head = Head(few=True, groups=groups, chunks=chunks)
  ours = with_gradients(lambda h, apply: cross_entropy(h, apply, head, FORBIDDEN))
  for a, b in zip(ours, reference(FORBIDDEN), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  "groups, counts, expected", [(1, 13, 4), (1, 0, 0), (2, 24, 6), (1, 48, 12)]
)
def test_pieces_in_which_nothing_is_scored_are_not_computed(groups, counts, expected):
  """Forwards and backwards: 12 pieces of 4 positions in all."""
  runs = []
  where = (jnp.arange(B * L) < counts).reshape(B, L)

  @jax.custom_jvp
  def watched(x):
    jax.debug.callback(lambda: runs.append("forwards"))
    return x

  @watched.defjvp
  def _(primals, tangents):
    jax.debug.callback(lambda: runs.append("backwards"))
    return primals[0], tangents[0]

  def total(hidden):
    head = Head(few=True, groups=groups, chunks=12 // groups)
    return head.score(hidden, lambda h: watched(h) @ KERNEL, nll(None), (TARGETS,), where).sum()

  jax.block_until_ready(jax.jit(jax.value_and_grad(total))(HIDDEN))
  jax.effects_barrier()
  assert runs.count("forwards") == runs.count("backwards") == expected


def test_a_score_may_give_several_arrays_and_take_arrays_with_more_axes():
  """As a continuous process does: log p of the token and the expected embedding."""
  table = jax.random.normal(jax.random.key(4), (V, 5))
  z = jax.random.normal(jax.random.key(5), (B, L, 5))

  def results(head):
    def total(hidden, kernel, z, table):
      def score(logits, z, x):
        p = jax.nn.softmax(logits + z @ table.T)
        return jnp.log(jnp.take_along_axis(p, x[..., None], -1)[..., 0]), p @ table

      log_p, mean = head.score(hidden, lambda h: h @ kernel, score, (z, TARGETS), WHERE)
      return log_p.sum() + jnp.sin(mean).sum(), (log_p, mean)

    return jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))(HIDDEN, KERNEL, z, table)

  expected = results(Head())
  for head in (Head(chunks=4), Head(chunks=4, few=True), Head(chunks=2, groups=2, few=True)):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), results(head), expected
    )


def test_pieces_are_chosen_by_the_size_of_the_logits():
  assert Head(columns=27).pieces(64, 64) == Head(columns=27, few=True).pieces(64, 64) == 1
  assert Head(columns=32768).pieces(16, 128) == 1
  assert Head(columns=32768, few=True).pieces(16, 128) == 8
  assert Head(columns=50257).pieces(2, 1024) == 8
  pieces = Head(columns=50257, groups=8).pieces(512, 1024)
  assert 64 * 1024 // pieces * 50257 <= 2**28 and 64 * 1024 % pieces == 0
  assert Head(columns=50257, groups=8).pieces(1, 1021) == 1
  assert Head(columns=50257, few=True).pieces(1, 1021) == 1021  # a prime
