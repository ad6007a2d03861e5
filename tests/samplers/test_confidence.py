"""Which positions are committed when, and of what the score is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing
from dlm_jax.samplers import scores
from tests.samplers import drawing

V, LENGTH, ROWS = 4, 6, 3
PROCESS = absorbing.make(vocab_size=V)
# Two equally likely tokens at 0, a certain one at 2, and so on: no two positions score alike.
LOGITS = jnp.array(
  [
    [3.0, 3.0, 0.0, 0.0],
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 9.0, 0.0, 0.0],
    [0.0, 0.0, 2.5, 0.0],
    [0.0, 0.0, 0.0, 0.5],
    [4.0, 1.0, 0.0, 0.0],
  ]
)
GIVEN = np.array([[1, 0, 0, 0, 0, 1], [0] * LENGTH, [0, 0, 1, 0, 0, 0]], bool)
PROBS = np.asarray(jax.nn.softmax(LOGITS))
RANKED = np.sort(PROBS)
SCORES = {
  "probability": RANKED[:, -1],
  "margin": RANKED[:, -1] - RANKED[:, -2],
  "negative_entropy": np.sum(PROBS * np.log(PROBS), axis=-1),
  "left_to_right": -np.arange(LENGTH),
}


def commits(score, steps, **settings):
  """At which step each position was committed, `[B, L]`; -1 where it was given."""
  denoise = lambda z, t: jnp.broadcast_to(LOGITS, (*z.shape, V))  # noqa: E731
  result = drawing.draw(
    drawing.make("confidence", score=score),
    PROCESS,
    denoise,
    (ROWS, LENGTH),
    steps=steps,
    tokens=np.zeros(GIVEN.shape, np.int32),
    given=GIVEN,
    trajectory=True,
    **settings,
  )
  assert result.num_evaluations == steps
  return np.sum(result.trajectory == PROCESS.mask_id, axis=0) - 1, result.tokens


@pytest.mark.parametrize("score", SCORES)
def test_the_best_are_committed_first_at_temperature_0_too(score):
  """The score is that of the prediction before the filters: after them every token is certain."""
  at, tokens = commits(score, LENGTH, temperature=0.0)
  for row, given in zip(at, GIVEN, strict=True):
    order = [i for i in np.argsort(-SCORES[score], kind="stable") if not given[i]]
    np.testing.assert_array_equal(np.argsort(row, kind="stable")[given.sum() :], order)
  np.testing.assert_array_equal(tokens, np.where(GIVEN, 0, np.argmax(LOGITS, axis=-1)))


def test_how_many_follows_the_grid_in_each_row():
  """Of 4, 6 and 5 free positions, ceil(F (1 - k / 4)) are left after k steps."""
  at, _ = commits("random", 4)
  counts = [np.bincount(row[row >= 0], minlength=4).tolist() for row in at]
  assert counts == [[1, 1, 1, 1], [1, 2, 1, 2], [1, 1, 1, 2]]


def test_a_random_order_depends_on_the_row():
  at, _ = commits("random", 64)
  assert len({tuple(row) for row in at}) == ROWS


def test_the_probability_is_that_of_the_candidate_and_not_of_the_likeliest():
  log_probs = jax.nn.log_softmax(LOGITS)
  np.testing.assert_allclose(
    scores.probability(log_probs, jnp.ones(LENGTH, jnp.int32)), PROBS[:, 1], rtol=1e-6
  )


def test_equal_scores_are_ranked_from_the_left_among_those_allowed():
  ranks = scores.ranks(jnp.array([[1.0, 2.0, 1.0, 2.0]]), jnp.array([[True, False, True, True]]))
  np.testing.assert_array_equal(ranks, [[1, 3, 2, 0]])


def test_an_unknown_score_is_refused():
  with pytest.raises(UserError, match="did you mean 'margin'"):
    drawing.make("confidence", score="margins")
