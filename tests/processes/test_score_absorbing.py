"""Both score entropies: SEDD's formulas, equality with other parameterizations, clamps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, score_absorbing, score_uniform, uniform
from tests import toy

JOINT = toy.joint()
V = JOINT.vocab_size
GEOMETRIC = {"name": "geometric"}
MASKS = score_absorbing.make(vocab_size=V)
TOKENS = score_uniform.make(vocab_size=V)


def random_draws(states, t, rows=512, seed=0):
  """x, z, logits and times `[rows]`, the same time for all; half of the positions are noise."""
  rng = np.random.default_rng(seed)
  x = rng.integers(0, V, (rows, 2)).astype(np.int32)
  noise = rng.integers(V if states > V else 0, states, x.shape)
  z = np.where(rng.random(x.shape) < 0.5, noise, x).astype(np.int32)
  return x, z, 2 * jax.random.normal(jax.random.key(seed), (rows, 2, V)), jnp.full(rows, t)


def nelbo_at(process, x, z, output, t):
  values = toy.noised_as(process, z).nelbo(jax.random.key(0), lambda z, t: output, x, t)
  return np.asarray(values, np.float64)


def implied_scores(log_p, z, t):
  """The log-scores under uniform noise that stand for a prediction `[B, L, V]`."""
  noised = TOKENS.noised(t)[:, None, None]
  log_q = jnp.log((1 - noised) * jnp.exp(log_p) + noised / V)
  return log_q - jnp.take_along_axis(log_q, z[..., None], axis=-1)


def noise_matrix(process):
  """t -> q(z_t | x) of one position, `[V, states]`."""
  pi = process.noise_prob(jnp.arange(process.num_embeddings), process.uniform_fraction)
  kept = jnp.eye(V, process.num_embeddings)
  return lambda t: process.alpha(t) * kept + process.noised(t) * pi


@pytest.mark.parametrize(
  "process, exact",
  [(MASKS, toy.score_denoiser(JOINT)), (TOKENS, toy.uniform_score_denoiser(JOINT, TOKENS.noised))],
  ids=["absorbing", "uniform"],
)
def test_bound_of_the_exact_scores_is_the_entropy(process, exact):
  q = noise_matrix(process)
  assert toy.quadrature_bound(JOINT, process, exact, q) == pytest.approx(JOINT.entropy, rel=3e-4)
  louder = lambda z, t: exact(z, t) + 0.3 * (jnp.arange(V) != z[..., None])  # noqa: E731
  assert toy.quadrature_bound(JOINT, process, louder, q) > JOINT.entropy * 1.01


@pytest.mark.parametrize("t", [1e-4, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("schedule", [{"name": "linear"}, GEOMETRIC], ids=["linear", "geometric"])
def test_at_the_score_that_subs_implies_it_is_the_absorbing_bound(t, schedule):
  fields = {"vocab_size": V, "schedule": schedule}
  process, reference = score_absorbing.make(**fields), absorbing.make(**fields)
  x, z, logits, times = random_draws(V + 1, t)
  expected = nelbo_at(reference, x, z, logits, times)
  implied = jax.nn.log_softmax(logits) + np.log(V)
  np.testing.assert_allclose(
    nelbo_at(process, x, z, implied, times), expected, rtol=2e-5, atol=1e-5
  )


@pytest.mark.parametrize("t", [0.3, 0.7, 0.9])
def test_at_the_score_that_a_prediction_implies_it_is_the_uniform_bound(t):
  reference = uniform.make(vocab_size=V, schedule=GEOMETRIC)
  x, z, logits, times = random_draws(V, t)
  expected = nelbo_at(reference, x, z, logits, times)
  implied = implied_scores(jax.nn.log_softmax(logits), z, times)
  np.testing.assert_allclose(nelbo_at(TOKENS, x, z, implied, times), expected, rtol=1e-3, atol=1e-4)


def test_absorbing_integrand_is_sedd_s():
  """SEDD's absorbing score entropy with its scaling of the output, as it is written."""
  process = score_absorbing.make(vocab_size=V, schedule={"name": "linear"})
  x, z, output, t = random_draws(V + 1, 0.4)
  sigma, slope = -np.log(0.6), 1 / 0.6
  r = 1 / np.expm1(sigma)
  log_score = np.asarray(output, np.float64) - np.log(np.expm1(sigma)) - np.log(V)
  of_x = np.take_along_axis(log_score, x[..., None], -1)[..., 0]
  entropy = np.exp(log_score).sum(-1) - r * of_x + r * (np.log(r) - 1)
  expected = np.where(z == V, slope * entropy, 0.0)
  np.testing.assert_allclose(nelbo_at(process, x, z, output, t), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("t", [0.4, 0.8])
def test_uniform_integrand_is_sedd_s(t):
  """SEDD's uniform score entropy in its three parts, as it is written."""
  x, z, output, times = random_draws(V, t)
  alpha = float(TOKENS.alpha(jnp.float32(t)))
  expm1 = 1 / alpha - 1
  ratio = 1 - V / (expm1 + V)
  score = np.where(np.arange(V) == z[..., None], 0.0, np.asarray(output, np.float64))
  at = lambda index: np.take_along_axis(score, index[..., None], -1)[..., 0]  # noqa: E731
  mean = score.mean(-1) - at(z) / V
  positive = np.exp(score).mean(-1) - np.exp(at(z)) / V
  negative = np.where(z == x, ratio * mean, at(x) / expm1 + mean)
  same = (V - 1) / V * ratio * (np.log(ratio) - 1)
  other = ((-np.log(ratio) - 1) / ratio - (V - 2)) / V
  rate = float(TOKENS.rate(jnp.float32(t)))
  expected = rate * (positive - negative + np.where(z == x, same, other))
  np.testing.assert_allclose(nelbo_at(TOKENS, x, z, output, times), expected, rtol=2e-4, atol=1e-4)


def draws(process, output, z, t, s, rows=40_000):
  """Counts of the states that `reverse` gives one position."""
  output = jnp.broadcast_to(jnp.asarray(output), (rows, 1, V))
  state, t, s = jnp.full((rows, 1), z), jnp.full(rows, t), jnp.full(rows, s)
  prediction = process.predict(output, state, t)
  out = process.reverse(jax.random.key(0), prediction, state, t, s)
  return np.bincount(np.asarray(out)[:, 0], minlength=process.num_embeddings)


def test_tweedie_reveals_by_the_score():
  """Scores that sum to 1.5 where 1 would normalise: half again as many are revealed."""
  process = score_absorbing.make(vocab_size=V, schedule={"name": "linear"})
  p = np.array([0.9, 0.45, 0.15])
  counts = draws(process, np.log(p * V), V, 0.8, 0.6)
  chance = (0.8 - 0.6) / 0.8 * p
  expected = np.append(chance, 1 - chance.sum())
  assert stats.chisquare(counts, counts.sum() * expected).pvalue > 1e-4
  assert draws(process, np.log(p * V), V, 0.8, 0.1)[V] == 0  # the mask's entry is negative: 0
  assert draws(process, np.log(p * V) - 1.0, V, 0.8, 0.0)[V] == 0  # nothing stays masked at 0


def test_tweedie_of_uniform_noise_is_bayes_rule_at_exact_scores():
  p, t, s, z = np.array([0.7, 0.2, 0.1]), 0.85, 0.75, 1
  output = implied_scores(jnp.log(p)[None, None], jnp.array([[z]]), jnp.array([t]))
  a_t, a_s = (float(TOKENS.alpha(jnp.float32(time))) for time in (t, s))
  step = a_t / a_s * np.eye(V) + (1 - a_t / a_s) / V
  expected = (a_s * p + (1 - a_s) / V) * step[:, z]
  counts = draws(TOKENS, output[0, 0], z, t, s)
  assert stats.chisquare(counts, counts.sum() * expected / expected.sum()).pvalue > 1e-4


def test_tweedie_of_uniform_noise_clamps_what_is_negative():
  """No distribution gives two tokens so small a score: their carried entries are negative."""
  counts = draws(TOKENS, [-20.0, 0.0, -20.0], 1, 0.9, 0.1)
  assert counts[1] == counts.sum()


def test_untrained_absorbing_scores_normalise():
  x, z, _, t = random_draws(V + 1, 0.5)
  nats = nelbo_at(MASKS, x, z, jnp.zeros((*x.shape, V)), t)
  np.testing.assert_allclose(nats[z == V], 2 * np.log(V), rtol=1e-4)


@pytest.mark.parametrize(
  ("module", "fields", "sentence"),
  [
    (score_uniform, {"schedule": {"name": "linear"}}, "'geometric' or 'log_linear'"),
    (score_absorbing, {"timesteps": 4}, "no field 'timesteps'"),
  ],
)
def test_mistakes_are_named(module, fields, sentence):
  with pytest.raises(UserError, match=sentence):
    module.make(vocab_size=5, **fields)
