"""Which candidates each rule commits, from scores that are written down."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.decoding import base, counts
from dlm_jax.decoding.base import Candidates, WindowProgress

V = 4
SCORES = [0.95, 0.5, 0.45, 0.92, 0.3, 0.1]
MASKED = [1, 1, 1, 0, 1, 1]


def candidates(scores=SCORES, masked=MASKED):
  """One row; each token is drawn with the probability that is its score, the rest is shared."""
  p = np.asarray(scores, np.float32)[None]
  rest = (1 - p)[..., None] / (V - 1)
  probs = np.concatenate([p[..., None], np.repeat(rest, V - 1, axis=-1)], axis=-1)
  masked = np.asarray(masked, bool)[None]
  zeros = jnp.zeros(p.shape, jnp.int32)
  return Candidates(
    token=zeros,
    likeliest=jnp.argmax(probs, axis=-1),
    score=jnp.asarray(p),
    log_probs=jnp.log(probs),
    here=zeros,
    masked=jnp.asarray(masked),
    written=jnp.asarray(~masked),
    mask_id=V,
  )


def progress(step=0, masked=5, after=0, memory=None, of_revision=None):
  step, masked, after = (jnp.full((1, 1), number) for number in (step, masked, after))
  return WindowProgress(
    step=step, masked_at_first=masked, after=after, memory=memory, of_revision=of_revision
  )


def commits(name, offered=None, at=None, **settings):
  rule = resolve.make(base.RULES, {"name": name, **settings})
  offered, at = offered or candidates(), at or progress()
  return np.flatnonzero(rule.commit(offered, at)[0][0]).tolist()


@pytest.mark.parametrize(
  ("name", "settings", "wanted"),
  [
    ("top_n", {"steps": 2}, [0, 1, 2]),
    ("top_n", {"steps": 5}, [0]),
    ("threshold", {"threshold": 0.4}, [0, 1, 2]),
    ("threshold", {"threshold": 0.99}, [0]),
    ("threshold", {"threshold": 0.99, "steps": 2}, [0, 1, 2]),
    ("threshold", {"threshold": 0.45}, [0, 1]),
    ("threshold", {"threshold": float(np.float32(0.45)), "inclusive": True}, [0, 1, 2]),
    # 2 (1 - .95) <= 1.6, 3 (1 - .5) <= 1.6, but 4 (1 - .45) > 1.6.
    ("factor", {"factor": 1.6}, [0, 1]),
    ("factor", {"factor": 0.01}, [0]),
    # The best of positions 4 and 5 is above the low threshold alone.
    ("hierarchical", {"threshold": 0.9, "low_threshold": 0.2}, [0, 4]),
    ("hierarchical", {"threshold": 0.99, "low_threshold": 0.97}, [0]),
    ("credit", {"threshold": 0.4}, [0, 1, 2]),
    ("kl_stable", {}, [0]),
  ],
)
def test_what_is_committed(name, settings, wanted):
  rule = resolve.make(base.RULES, {"name": name, **settings})
  memory = rule.memory((1, len(SCORES)), V)
  assert commits(name, at=progress(memory=memory), **settings) == wanted


def test_the_entropy_bound_leaves_out_the_largest():
  entropies = -np.sum(np.exp(candidates().log_probs) * np.asarray(candidates().log_probs), axis=-1)
  first, second = entropies[0, 0], entropies[0, 1]
  assert commits("entropy_bound", bound=float(first) * 0.99) == [0]
  assert commits("entropy_bound", bound=float(first) * 1.01) == [0, 1]
  assert commits("entropy_bound", bound=float(first + second) * 1.01) == [0, 1, 2]


def test_the_whole_schedule_is_that_of_a_window_without_given_tokens():
  """Of 6 positions in 2 steps three, though 5 are masked; and all that is left at the last."""
  assert commits("top_n", steps=2, schedule="whole") == [0, 1, 2]
  few = candidates(masked=[1, 1, 0, 0, 0, 0])
  assert commits("top_n", few, progress(step=0, masked=2), steps=2, schedule="whole") == [0, 1]
  assert commits("top_n", few, progress(step=0, masked=2), steps=2, schedule="even") == [0]


@pytest.mark.parametrize(
  ("schedule", "masked", "steps", "wanted"),
  [
    ("even", 12, 5, [3, 3, 2, 2, 2]),
    ("linear", 13, 8, [1, 1, 1, 1, 2, 2, 2, 3]),
    ("rounded", 4, 3, [1, 1, 2]),
    ("rounded", 6, 4, [2, 1, 2, 1]),
  ],
)
def test_schedules_are_those_of_the_references(schedule, masked, steps, wanted):
  found, left = [], masked
  for step in range(steps):
    offered = candidates([0.5] * masked, [1] * left + [0] * (masked - left))
    number = counts.count(schedule, offered, progress(step, masked), steps)
    found.append(int(number[0, 0]))
    left -= found[-1]
  assert found == wanted


def test_a_prediction_that_has_not_changed_twice_is_stable():
  rule = resolve.make(base.RULES, {"name": "kl_stable", "threshold": 0.4})
  memory = rule.memory((1, len(SCORES)), V)
  for wanted in ([0], [0], [0, 1, 2]):
    commit, memory = rule.commit(candidates(), progress(memory=memory))
    assert np.flatnonzero(commit[0]).tolist() == wanted


def test_credit_raises_a_token_that_was_predicted_again():
  rule = resolve.make(base.RULES, {"name": "credit"})
  memory = rule.memory((1, len(SCORES)), V)
  logits = candidates().log_probs
  np.testing.assert_array_equal(rule.adjust(logits, memory), logits)
  _, memory = rule.commit(candidates(), progress(memory=memory))
  raised = jax.nn.softmax(rule.adjust(logits, memory))[0, :, 0]
  assert np.all(raised > np.asarray(SCORES))


def test_an_edit_is_above_its_threshold_and_not_of_the_prompt():
  edit = resolve.make(base.REVISIONS, {"name": "edit", "threshold": 0.9, "most_after": 2})
  offered = candidates()
  here = offered.here.at[0, 3].set(2).at[0, 4].set(2)
  offered = dataclasses.replace(
    offered,
    here=here,
    masked=jnp.zeros_like(offered.masked),
    written=jnp.array([[True, False, True, True, True, True]]),
  )
  nothing = jnp.zeros_like(offered.masked)
  revised = edit.revise(offered, nothing, progress(after=1))
  assert revised.tokens[0].tolist() == [0, 0, 0, 0, 2, 0] and not revised.settled[0, 0]
  assert edit.revise(offered, nothing, progress(after=2)).settled[0, 0]


def test_verification_keeps_what_it_agrees_with_and_the_token_after():
  """The prompt is left as it is, though the model would write it otherwise."""
  verify = resolve.make(base.REVISIONS, {"name": "verify"})
  offered = dataclasses.replace(
    candidates(),
    here=jnp.array([[3, 0, 0, 2, 0, 1]]),
    masked=jnp.zeros((1, 6), bool),
    written=jnp.array([[False, True, True, True, True, True]]),
  )
  for after, wanted in [(1, [3, 0, 0, 0, V, V]), (0, [3, 0, 0, 2, 0, 1])]:
    revised = verify.revise(offered, offered.masked, progress(after=after))
    assert revised.tokens[0].tolist() == wanted


def test_soft_tokens_are_the_likeliest_of_the_step():
  soft = resolve.make(base.REVISIONS, {"name": "soft", "candidates": 2, "weight": 0.5})
  at = progress(of_revision=soft.memory((1, 6)))
  assert not np.any(soft.likely(at.of_revision).weights)
  revised = soft.revise(candidates(), candidates().best(jnp.int32(1)), at)
  assert revised.tokens[0].tolist() == [0, 0, 0, 0, 0, 0] and revised.settled[0, 0]
  likely = soft.likely(revised.memory)
  assert likely.tokens[0, 1].tolist() == [0, 1]
  np.testing.assert_allclose(likely.weights[0, 1], [0.25, 0.5 / 6], rtol=1e-5)


@pytest.mark.parametrize("name", resolve.names(base.RULES))
def test_every_rule_commits_the_best_where_nothing_is_certain(name):
  rule = resolve.make(base.RULES, {"name": name})
  offered = candidates([0.3, 0.26, 0.27, 0.25, 0.28, 0.29])
  memory = rule.memory((1, len(SCORES)), V)
  assert 0 in np.flatnonzero(rule.commit(offered, progress(memory=memory))[0][0])
  nothing = candidates(masked=[0] * len(SCORES))
  assert not np.any(rule.commit(nothing, progress(memory=memory))[0])


def three_rows():
  """Rows of other scores and masks, each at another step of its window."""
  rng = np.random.default_rng(0)
  rows = [candidates(rng.uniform(0.26, 0.99, 6), rng.random(6) < 0.7) for _ in range(3)]
  offered = jax.tree.map(lambda *a: jnp.concatenate(a) if np.ndim(a[0]) else a[0], *rows)
  return dataclasses.replace(offered, token=jnp.asarray(rng.integers(0, V, (3, 6)), jnp.int32))


def at_steps(memory, of_revision, after=0):
  step, few = jnp.array([[0], [2], [5]]), jnp.array([[5], [4], [6]])
  return WindowProgress(
    step=step, masked_at_first=few, after=step + after, memory=memory, of_revision=of_revision
  )


def of_row(tree, row):
  return jax.tree.map(lambda a: a[row : row + 1] if np.ndim(a) else a, tree)


@pytest.mark.parametrize("name", resolve.names(base.RULES))
def test_what_a_rule_commits_of_a_row_follows_from_the_row_alone(name):
  rule, offered = resolve.make(base.RULES, {"name": name}), three_rows()
  memory = rule.commit(offered, at_steps(rule.memory((3, 6), V), None))[1]
  at = at_steps(memory, None)
  together = rule.commit(offered, at), rule.adjust(offered.log_probs, memory)
  for row in range(3):
    mine, mine_at = of_row(offered, row), of_row(at, row)
    found = rule.commit(mine, mine_at), rule.adjust(mine.log_probs, mine_at.memory)
    jax.tree.map(np.testing.assert_array_equal, found, of_row(together, row))


@pytest.mark.parametrize("name", resolve.names(base.REVISIONS))
def test_what_a_revision_leaves_of_a_row_follows_from_the_row_alone(name):
  revision, offered = resolve.make(base.REVISIONS, {"name": name}), three_rows()
  committed = offered.best(jnp.int32(2))
  first = revision.revise(offered, committed, at_steps(None, revision.memory((3, 6))))
  at = at_steps(None, first.memory, after=1)
  together = revision.revise(offered, committed, at)
  for row in range(3):
    found = revision.revise(of_row(offered, row), of_row(committed, row), of_row(at, row))
    jax.tree.map(np.testing.assert_array_equal, found, of_row(together, row))


def test_thresholds_in_the_wrong_order_are_refused():
  with pytest.raises(UserError, match="must not be above threshold"):
    resolve.make(base.RULES, {"name": "hierarchical", "low_threshold": 0.95})


def test_remasking_keeps_the_best_of_all_positions():
  """Two are written and one is committed: the three best of all stay, whoever wrote them."""
  remask = resolve.make(base.REVISIONS, {"name": "remask"})
  offered = candidates(masked=[1, 1, 0, 0, 1, 0])
  # The prompt ends at 3; 2 and 5 are written: 2 as the model would (.45), 5 not at all (.1).
  written = jnp.array([[False, False, True, False, False, True]])
  here = jnp.where(offered.masked, V, 0)
  offered = dataclasses.replace(offered, here=here, written=written)
  revised = remask.revise(offered, offered.best(jnp.int32(1)), progress())
  assert revised.tokens[0].tolist() == [0, 0, 0, 0, V, V] and revised.settled[0, 0]


def test_a_canvas_keeps_what_is_accepted_now_and_ends_with_the_likeliest_tokens():
  """Position 3 is of the prompt. Of the others, two are accepted, whatever was so before."""
  canvas = resolve.make(base.REVISIONS, {"name": "canvas", "steps": 4, "certain": 1.1})
  offered = dataclasses.replace(
    candidates(), token=jnp.array([[1, 2, 0, 0, 3, 0]]), here=jnp.array([[V, V, 2, 3, V, V]])
  )
  likeliest = offered.likeliest[0].tolist()
  assert likeliest == [0, 0, 0, 0, 0, 1]
  accepted = offered.best(jnp.int32(2))
  first = canvas.revise(offered, accepted, progress(of_revision=canvas.memory((1, 6))))
  assert first.tokens[0].tolist() == [1, 2, V, 3, V, V] and not first.settled[0, 0]
  np.testing.assert_array_equal(first.memory, offered.likeliest)
  written = [0, 0, 0, 3, 0, 1]
  # The likeliest tokens are those of the step before, and their mean entropy is 1.06 nats.
  for at in (progress(step=1, of_revision=first.memory), progress(3, of_revision=-first.memory)):
    last = canvas.revise(offered, accepted, at)
    assert last.tokens[0].tolist() == written and last.settled[0, 0]
  stricter = dataclasses.replace(canvas, certain=1.0)
  at = progress(step=1, of_revision=first.memory)
  assert not stricter.revise(offered, accepted, at).settled[0, 0]
  # From 0.8 the temperature falls to 0.4, which it would reach at the step after the last.
  np.testing.assert_allclose(canvas.heat(jnp.arange(5)[:, None])[:, 0], 1 - np.arange(5) / 8)
