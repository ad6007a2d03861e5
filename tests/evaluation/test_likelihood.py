import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.evaluation import likelihood
from dlm_jax.evaluation.estimates import Bound, summarize
from dlm_jax.evaluation.journal import Journal
from dlm_jax.evaluation.likelihood import Scoring
from dlm_jax.processes import absorbing
from dlm_jax.processes.draws import row_uniform
from tests import toy

JOINT = toy.joint()
PROCESS = absorbing.make(vocab_size=JOINT.vocab_size)
EXACT = toy.absorbing_denoiser(JOINT)


def evaluator(**settings):
  """Its parameter is a scale of the exact logits: 1 is exact, 0 knows nothing."""
  settings = {"batch_size": 4096} | settings
  return likelihood.evaluator(
    PROCESS, lambda scale: lambda z, t: scale * jnp.maximum(EXACT(z, t), -30.0), Scoring(**settings)
  )


def test_exact_denoiser_reaches_the_entropy():
  tokens = JOINT.draw(0, 8000)
  bound = evaluator(samples=4)(1.0, tokens)
  assert bound.standard_error < 0.02
  assert abs(bound.nats_per_token - JOINT.entropy / 3) < 3 * bound.standard_error


def test_exact_denoiser_is_tight_on_the_same_rows():
  """Against the rows' own -log p nothing is left but the draws of times and masks."""
  tokens = JOINT.draw(0, 16_000)
  negative_log_p = -np.log(JOINT.probs[JOINT.index(tokens)]).mean() / 3
  bound = evaluator(samples=32)(1.0, tokens)
  assert abs(bound.nats_per_token - negative_log_p) < 0.004 * negative_log_p


def test_another_denoiser_is_above_the_exact_one():
  evaluate, tokens = evaluator(samples=2), JOINT.draw(0, 4096)
  exact, wrong, ignorant = (evaluate(scale, tokens) for scale in (1.0, 0.5, 0.0))
  assert wrong.nats_per_token > exact.nats_per_token
  assert ignorant.nats_per_token == pytest.approx(math.log(3), rel=0.03)
  assert ignorant.nats_per_token > wrong.nats_per_token


def test_the_batch_size_and_a_partial_batch_change_nothing():
  tokens = JOINT.draw(0, 20)
  expected = evaluator(batch_size=20, samples=3)(1.0, tokens)
  found = evaluator(batch_size=7, samples=3)(1.0, tokens)
  assert found.nats_per_token == pytest.approx(expected.nats_per_token, rel=1e-6)
  assert found.standard_error == pytest.approx(expected.standard_error, rel=1e-6)
  assert (found.sequences, found.tokens, found.samples) == (20, 60, 3)


def test_a_stopped_evaluation_goes_on_from_what_was_kept(tmp_path):
  tokens, batches = JOINT.draw(0, 20), []

  def stopped(starts):
    yield from starts[:2]
    raise KeyboardInterrupt

  def draws(watch, path=None):
    scoring = Scoring(batch_size=7, samples=3, journal=Journal(path, {"step": 7}))
    return likelihood.drawer(PROCESS, lambda _: EXACT, scoring, watch)(None, tokens)

  with pytest.raises(KeyboardInterrupt):
    draws(stopped, tmp_path / "journal")
  found = draws(lambda starts: batches.extend(starts) or starts, tmp_path / "journal")
  assert batches == [14]
  for name, expected in vars(draws(iter)).items():
    np.testing.assert_array_equal(vars(found)[name], expected)


def test_a_mesh_changes_nothing():
  tokens = JOINT.draw(0, 20)
  expected = evaluator(batch_size=20)(1.0, tokens)
  found = evaluator(batch_size=7, mesh=make_mesh({"data": -1}))(1.0, tokens)
  assert found.nats_per_token == pytest.approx(expected.nats_per_token, rel=1e-6)


def test_evaluations_are_paired_by_their_seed():
  tokens = JOINT.draw(0, 50)
  expected = evaluator(seed=3)(1.0, tokens)
  assert evaluator(seed=3)(1.0, tokens) == expected
  assert evaluator(seed=4)(1.0, tokens) != expected


def test_given_positions_are_context_and_are_not_counted():
  tokens = JOINT.draw(0, 8000)
  given = np.zeros(tokens.shape, bool)
  given[:, 0] = True
  bound = evaluator(samples=4)(1.0, tokens, given)
  first = JOINT.probs.reshape(3, -1).sum(-1)
  rest = JOINT.entropy + np.sum(first * np.log(first))  # H(x) - H(x_0)
  assert bound.tokens == 2 * len(tokens)
  assert abs(bound.nats_per_token - rest / 2) < 3 * bound.standard_error


def test_the_standard_error_is_that_of_repeated_evaluations():
  bounds = [
    evaluator(samples=4, batch_size=300, seed=seed)(1.0, JOINT.draw(seed, 300))
    for seed in range(30)
  ]
  spread = np.std([b.nats_per_token for b in bounds], ddof=1)
  reported = np.mean([b.standard_error for b in bounds])
  # A standard deviation of 30 draws is known to 13%.
  assert 0.6 < spread / reported < 1.4


def test_times_are_spread_over_the_evaluation_and_over_each_row():
  rows, samples = 50, 4
  t, weight = likelihood._times(likelihood.TIMES, jax.random.key(0), rows, samples, PROCESS)
  assert t.shape == weight.shape == (samples, rows)
  assert np.all((t > 0) & (t <= 1)) and np.all(weight == 1)
  np.testing.assert_allclose(np.diff(np.sort(t.ravel())), 1 / (rows * samples), atol=1e-5)
  np.testing.assert_allclose(np.diff(np.sort(t, axis=0), axis=0), 1 / samples, atol=1e-5)
  # Neighbours in a corpus are alike: the time must not follow the row.
  assert np.median(np.abs(np.diff(t[0]))) > 5 / (rows * samples)


def test_noise_is_drawn_anew_for_each_sample_of_each_row():
  class Noise:
    """Scores each position with its noise."""

    def nelbo(self, key, denoise, x, t, given):
      return row_uniform(key, x.shape)

    def constants(self):
      return 1.0

  rows, samples = 400, 16
  evaluate = likelihood.evaluator(Noise(), lambda _: None, Scoring(batch_size=100, samples=samples))
  bound = evaluate(None, JOINT.draw(0, rows))
  draws = rows * samples * JOINT.length
  expected = np.sqrt(1 / 12 / draws)
  assert bound.standard_error == pytest.approx(expected, rel=0.2)
  assert abs(bound.nats_per_token - 1.5) < 4 * expected


def test_sums_by_hand():
  # Two samples of three sequences, of which the last has one token: (3 + 5 + 1) nats / 5 tokens.
  nats, scored = np.array([[2.0, 5, 1], [4, 5, 1]]), np.array([2, 2, 1])
  bound = summarize(nats, scored, np.arange(3))
  residuals = np.array([3 - 3.6, 5 - 3.6, 1 - 1.8])
  assert bound.nats_per_token == pytest.approx(9 / 5)
  assert bound.standard_error == pytest.approx(math.sqrt(np.sum(residuals**2) * 3 / 2) / 5)
  assert (bound.sequences, bound.tokens, bound.samples, bound.clusters) == (3, 5, 2, 3)


def test_units_by_hand():
  bound = Bound(2 * math.log(2), 0.1 * math.log(2), 10, 100, 1, 10)
  assert bound.bits_per_token.value == pytest.approx(2)
  assert bound.bits_per_token.standard_error == pytest.approx(0.1)
  assert bound.bits_per_character(4.0).value == pytest.approx(0.5)
  assert bound.bits_per_character(4.0).standard_error == pytest.approx(0.025)
  assert bound.perplexity.value == pytest.approx(4)
  assert bound.perplexity.standard_error == pytest.approx(0.4 * math.log(2))
  assert Bound(1000.0, 0.1, 10, 100, 1, 10).perplexity.value == math.inf


def drawer(**settings):
  return likelihood.drawer(PROCESS, lambda _: EXACT, Scoring(**{"batch_size": 4096} | settings))


def test_the_loss_against_time_is_that_of_the_enumerated_joint():
  """At time t the exact integrand is the sum over masks of p(mask) -log p(masked | rest) / t."""
  draws = drawer(samples=64)(None, JOINT.draw(0, 16_000))
  rows = draws.by_time(bins=5)
  assert [row["from"] for row in rows] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
  for row in rows:
    expected = np.mean([integrand(t) for t in np.linspace(row["from"], row["to"], 41)[1:-1]])
    assert abs(row["nats_per_token"] - expected / 3) < 4 * row["standard_error"] + 2e-3
    assert 0 < row["standard_error"] < 0.02
    # The 13 draws of a row in a bin are not independent: the error is above that of as many rows.
    assert 0 < row["variance"] < row["standard_error"] ** 2 * row["draws"] < 13 * row["variance"]
  mean = np.mean([row["nats_per_token"] for row in rows])
  assert mean == pytest.approx(draws.bound.nats_per_token, rel=1e-2)
  assert np.ptp([row["nats_per_token"] for row in rows]) > 0.05  # there is something to see


def integrand(t):
  """Nats a sequence, by enumeration: each masked position given what is not masked."""
  total, p = 0.0, JOINT.probs.reshape((JOINT.vocab_size,) * 3)
  for mask in np.ndindex(2, 2, 2):
    hidden = tuple(i for i in range(3) if mask[i])
    for i in hidden:
      others = tuple(j for j in hidden if j != i)
      marginal = p.sum(axis=others, keepdims=True)
      conditional = marginal / marginal.sum(axis=i, keepdims=True)
      cross = -np.sum(marginal * np.log(conditional))
      total += t ** len(hidden) * (1 - t) ** (3 - len(hidden)) * cross / t
  return total


def test_times_weighted_by_importance_show_the_same_integrand():
  weighted = likelihood.Times(epsilon=1e-3, importance=True)
  rows = drawer(samples=64, times=weighted)(None, JOINT.draw(0, 8000)).by_time(bins=2)
  expected = np.mean([integrand(t) for t in np.linspace(0.5, 1, 41)]) / 3
  # Drawn in proportion to 1 / t, so that the mean of the bin leans to its left.
  assert rows[1]["nats_per_token"] == pytest.approx(expected, rel=0.05)


def test_the_profile_of_positions_adds_up_to_the_bound():
  tokens = JOINT.draw(0, 4000)
  given = np.zeros(tokens.shape, bool)
  given[: len(tokens) // 2, 0] = True
  draws = drawer(samples=4, batch_size=1500)(None, tokens, given)
  rows = draws.by_position()
  assert [row["sequences"] for row in rows] == [2000, 4000, 4000]
  total = sum(row["nats"] * row["sequences"] for row in rows)
  assert total / draws.bound.tokens == pytest.approx(draws.bound.nats_per_token, rel=1e-6)
  given[:, 0] = True
  assert [row["position"] for row in drawer()(None, tokens, given).by_position()] == [1, 2]
  # What is noised and not scored leaves the terms of the others as they are.
  unscored = np.arange(3) == np.full((len(tokens), 1), 2)
  whole = draws = drawer()(None, tokens)
  draws = drawer()(None, tokens, unscored=unscored)
  assert draws.by_position() == whole.by_position()[:2]
  assert draws.bound.tokens == 2 * len(tokens)
  np.testing.assert_allclose(draws.nats.sum(), draws.position_nats.sum())


def test_the_standard_error_of_a_position_is_that_of_the_spread_of_rows():
  class Known:
    """Scores position i of row r with r * i."""

    def nelbo(self, key, denoise, x, t, given):
      return x * jnp.arange(3.0)

    def constants(self):
      return 0.5

  tokens = np.repeat(np.arange(10)[:, None], 3, axis=1)
  draws = likelihood.drawer(Known(), lambda _: None, Scoring(batch_size=4, samples=2))(None, tokens)
  spread = np.std(np.arange(10), ddof=1) / math.sqrt(10)
  for i, row in enumerate(draws.by_position()):
    assert row["nats"] == pytest.approx(4.5 * i + 0.5)
    assert row["standard_error"] == pytest.approx(spread * i)


def test_quadrature_is_exact_for_polynomials_and_has_no_chance_in_its_times():
  for degree in range(6):
    t, weight = likelihood.Quadrature().nodes(3)
    assert np.mean(weight * t**degree) == pytest.approx(1 / (degree + 1), rel=1e-5)
  tokens = JOINT.draw(0, 16_000)
  negative_log_p = -np.log(JOINT.probs[JOINT.index(tokens)]).mean() / 3
  draws = drawer(samples=2, times=likelihood.Quadrature())(None, tokens)
  assert len(np.unique(draws.t)) == 2
  # Order 2 is exact here, where the integrand has degree 2: what is left are the masks.
  assert abs(draws.bound.nats_per_token - negative_log_p) < 3 * draws.bound.standard_error
  np.testing.assert_allclose(draws.weight, 1)


def test_mistakes():
  with pytest.raises(UserError, match="samples must be at least 1, got 0"):
    evaluator(samples=0)
  with pytest.raises(UserError, match="batch_size must be at least 1, got 0"):
    evaluator(batch_size=0)
  with pytest.raises(UserError, match="at least 2 sequences, got 1"):
    evaluator()(1.0, JOINT.draw(0, 1))
  with pytest.raises(UserError, match="nothing to score"):
    summarize(np.zeros((1, 2)), np.zeros(2), np.arange(2))
