"""Guided sampling against distributions computed by hand."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlm_jax.core.errors import UserError
from dlm_jax.processes import (
  absorbing,
  autoregressive,
  duo,
  gaussian,
  generalized_absorbing,
  hybrid,
  score_absorbing,
  score_uniform,
  uniform,
)
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.block import Block
from dlm_jax.processes.facets import RevealsOnce
from dlm_jax.samplers import guidance
from dlm_jax.samplers.filters import Filters
from tests import toy
from tests.samplers import drawing

V, ROWS = 3, 40_000
WITH_LABEL = np.array([0.6, 0.3, 0.1])
WITHOUT = np.array([0.3, 0.3, 0.4])
EXPONENTS = np.array([0.5, 1.0, 2.0], np.float32)
PROCESSES = {
  "absorbing": absorbing.make(vocab_size=V),
  "uniform": uniform.make(vocab_size=V),
  "duo": duo.make(vocab_size=V),
  "generalized_absorbing": dataclasses.replace(
    generalized_absorbing.make(vocab_size=V), learned=EXPONENTS
  ),
  "hybrid": hybrid.make(vocab_size=V, p_u=0.3),
  "score_absorbing": score_absorbing.make(vocab_size=V),
  # At the end of its own schedule scores are 1 to all digits, so that one long step is a blind one.
  "score_uniform": score_uniform.make(vocab_size=V, schedule={"name": "log_linear"}),
}


def denoiser(process, p):
  """Predicts `p` at each position, whatever the rest."""

  def denoise(z, t):
    log_p = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (*z.shape, V))
    if isinstance(process, score_absorbing.ScoreAbsorbing):
      return log_p + np.log(V)
    if isinstance(process, score_uniform.ScoreUniform):
      alpha, noise = process.alpha(t)[:, None, None], process.noised(t)[:, None, None]
      log_q = jnp.log(alpha * jnp.exp(log_p) + noise / V)
      return log_q - jnp.take_along_axis(log_q, z[..., None], axis=-1)
    return log_p

  return denoise


def draw(process, denoise, shape, sampler="ancestral", **fields):
  return drawing.draw(drawing.make(sampler), process, denoise, shape, **fields)


def guided(process, scale):
  return guidance.guide(process, denoiser(process, WITH_LABEL), denoiser(process, WITHOUT), scale)


def powers(scale):
  weights = WITH_LABEL**scale * WITHOUT ** (1 - scale)
  return weights / weights.sum()


def p_value(tokens, expected):
  counts = np.bincount(np.asarray(tokens).ravel(), minlength=V)
  return stats.chisquare(counts, counts.sum() * expected).pvalue


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["absorbing", "uniform", "hybrid", "score_absorbing"])
def test_one_step_draws_from_the_product_of_powers(name, scale):
  process, denoise = guided(PROCESSES[name], scale)
  assert p_value(draw(process, denoise, (ROWS, 1), steps=1).tokens, powers(scale)) > 1e-4


def test_guiding_predictions_leaves_the_times_alone():
  """Under absorbing noise tokens are revealed when they always were, and follow the powers."""
  process, denoise = guided(PROCESSES["absorbing"], 2.0)
  result = draw(process, denoise, (ROWS, 1), steps=4, trajectory=True)
  masked = np.mean(np.asarray(result.trajectory) == V, axis=(1, 2))
  np.testing.assert_allclose(masked, [1, 0.75, 0.5, 0.25, 0], atol=0.01)
  assert p_value(result.tokens, powers(2.0)) > 1e-4


@pytest.mark.parametrize("name", ["uniform", "hybrid", "score_uniform"])
def test_guiding_posteriors(name):
  """p(z_s | z_t, label)^g p(z_s | z_t)^(1 - g) from the forward matrices, in mid-time."""
  scale, t, s, z = 1.7, 0.7, 0.5, 1
  plain = PROCESSES[name]
  process, denoise = guided(plain, scale)
  states = plain.num_embeddings
  pi = np.asarray(plain.noise_prob(jnp.arange(states), plain.uniform_fraction), np.float64)
  a_t, a_s = (float(plain.alpha(jnp.float32(time))) for time in (t, s))
  step = a_t / a_s * np.eye(states) + (1 - a_t / a_s) * pi
  weights = np.ones(states)
  for p, power in ((WITH_LABEL, scale), (WITHOUT, 1 - scale)):
    at_s = a_s * np.pad(p, (0, states - V)) + (1 - a_s) * pi
    weights *= (at_s * step[:, z] / (at_s @ step[:, z])) ** power
  state, times = jnp.full((ROWS, 1), z), (jnp.full(ROWS, t), jnp.full(ROWS, s))
  prediction = process.predict(denoise(state, times[0]), state, times[0])
  drawn = process.reverse(jax.random.key(0), prediction, state, *times)
  counts = np.bincount(np.asarray(drawn).ravel(), minlength=states)
  assert stats.chisquare(counts, ROWS * weights / weights.sum()).pvalue > 1e-4


@pytest.mark.parametrize("name", ["uniform", "hybrid"])
def test_the_posterior_is_what_reverse_draws_from(name):
  process, z, rows = PROCESSES[name], 2, 40_000
  t, s = jnp.full(rows, 0.8), jnp.full(rows, 0.3)
  state = jnp.full((rows, 1), z)
  prediction = process.predict(denoiser(process, WITH_LABEL)(state, t), state, t)
  drawn = process.reverse(jax.random.key(0), prediction, state, t, s)
  counts = np.bincount(np.asarray(drawn).ravel(), minlength=process.num_embeddings)
  one = Prediction(prediction.log_probs[:1])
  log_p = process.log_posterior(one, state[:1], t[:1], s[:1])
  expected = np.exp(np.asarray(log_p, np.float64))[0, 0]
  assert stats.chisquare(counts, rows * expected / expected.sum()).pvalue > 1e-4


def test_scale_1_costs_nothing():
  process, conditional = PROCESSES["uniform"], denoiser(PROCESSES["uniform"], WITH_LABEL)
  assert guidance.guide(process, conditional, None, 1.0) == (process, conditional)
  assert guidance.evaluations(process) == 1
  assert guidance.evaluations(guided(process, 2.0)[0]) == 2


@pytest.mark.parametrize("sampler", ["psi", "euler"])
@pytest.mark.parametrize("name", ["absorbing", "uniform"])
def test_other_samplers_take_guidance_and_filters(name, sampler):
  process, denoise = guided(PROCESSES[name], 3.0)
  given = np.broadcast_to([True, False, False, False], (2000, 4))
  known = {"tokens": np.full(given.shape, 2), "given": given}
  filters = {"temperature": 0.8, "top_p": 0.95}
  tokens = draw(process, denoise, given.shape, sampler, steps=16, **known, **filters).tokens
  assert np.all(tokens[:, 0] == 2) and np.all(tokens < V)
  assert np.mean(tokens[:, 1:] == 0) > 0.75  # WITH_LABEL alone: 0.6


def test_what_a_filter_takes_out_without_the_label_alone_is_improbable_not_impossible():
  """At temperature 0 the two predictions differ: the token of the label is left, and no NaN."""
  process, denoise = guided(PROCESSES["uniform"], 2.0)
  z, t = jnp.array([[1]]), jnp.ones(1)
  prediction = Filters(temperature=0.0)(process.predict(denoise(z, t), z, t))
  log_p = process.log_posterior(prediction, z, t, jnp.zeros(1))
  np.testing.assert_array_equal(np.exp(log_p[0, 0]), [1, 0, 0])
  # Both take something out: what is impossible with the label stays so.
  one, other = jnp.log(jnp.array([0.5, 0.5, 0.0])), jnp.log(jnp.array([0.0, 1.0, 0.0]))
  combined = guidance.combine(one, other, 2.0)
  expected = [2 * np.log(0.5) - guidance.LEAST, 2 * np.log(0.5), -np.inf]
  np.testing.assert_allclose(combined, expected, rtol=1e-6)


def test_a_certain_token_stays_certain():
  process = PROCESSES["absorbing"]
  process, denoise = guided(process, 4.0)
  z, t = jnp.array([[2, V]]), jnp.ones(1)
  log_p = process.predict(denoise(z, t), z, t).log_probs
  np.testing.assert_allclose(np.exp(log_p[0, 0]), [0, 0, 1])
  np.testing.assert_allclose(np.exp(log_p[0, 1]), powers(4.0), rtol=1e-5)


@pytest.mark.parametrize("module", [autoregressive, gaussian])
def test_only_where_it_is_defined(module):
  defined = r"guidance is not defined .*: absorbing, .*hybrid, score_absorbing.*uniform"
  with pytest.raises(UserError, match=defined):
    guidance.guide(module.make(vocab_size=V), None, None, 2.0)


@pytest.mark.proves("law", process="blocks_of_uniform", sampler="guidance")
def test_in_blocks_of_one_position_it_is_the_same():
  process, denoise = guided(Block(inner=PROCESSES["uniform"], block_size=1), 2.0)
  assert p_value(draw(process, denoise, (ROWS // 2, 2), steps=2).tokens, powers(2.0)) > 1e-4


# Processes that the toy joints of two labels are enumerated under: p_u and the exact denoiser.
CHAINS = {
  "absorbing": (0.0, toy.absorbing_denoiser, toy.absorbing_denoiser),
  "score_absorbing": (0.0, toy.score_denoiser, toy.absorbing_denoiser),
  "uniform": (1.0, toy.mixture_denoiser, toy.mixture_denoiser),
  "duo": (1.0, toy.mixture_denoiser, toy.mixture_denoiser),
  "generalized_absorbing": (
    0.0,
    partial(toy.generalized_denoiser, exponents=EXPONENTS),
    None,
  ),
  "hybrid": (0.3, partial(toy.mixture_denoiser, uniform_fraction=0.3), None),
  "score_uniform": (
    1.0,
    partial(toy.uniform_score_denoiser, noise=PROCESSES["score_uniform"].noised),
    partial(toy.mixture_denoiser, noise=PROCESSES["score_uniform"].noised),
  ),
}


def labelled_joint(label):
  """Squared, so that labels differ enough for ways of guiding to differ."""
  plain = toy.joint(seed=label, length=2)
  return toy.Joint(V, 2, plain.sequences, plain.probs**2 / np.sum(plain.probs**2))


ONE = labelled_joint(0)
MIXED = toy.Joint(V, 2, ONE.sequences, (ONE.probs + labelled_joint(1).probs) / 2)


def product_of_powers(one, other, scale):
  """one^scale other^(1 - scale), normalised over the last axis; 0 where `one` is."""
  weights = np.where(one > 0, one, 1.0) ** scale * np.where(one > 0, other, 1.0) ** (1 - scale)
  weights *= one > 0
  return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)


def posterior_of_noise(p, a_s, ratio, pi, states):
  """p(z_s | z_t) of predictions `p`, where a token becomes one of `pi` or stays."""
  step = ratio * np.eye(len(pi)) + (1 - ratio) * pi  # q(z_t | z_s), a row a z_s
  at_s = a_s * np.pad(p, ((0, 0), (0, 0), (0, len(pi) - V))) + (1 - a_s) * pi
  weights = at_s * step.T[states]
  return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)  # 0 where z cannot be


def revealed_by_token(p, stays, states):
  """p(z_s | z_t) of predictions `p`, where masked token v stays masked with probability `stays`."""
  moves = np.concatenate([p * (1 - stays), (p * stays).sum(-1, keepdims=True)], axis=-1)
  return np.where((states == V)[..., None], moves, np.eye(V + 1)[states])


def enumerated(name, scale, steps, of_predictions):
  """The law `[V^L]` of the chain, its predictions or else its posteriors guided, by matrices over
  all states of a row."""
  p_u, _, predict = CHAINS[name]
  predict = predict or CHAINS[name][1]
  process = PROCESSES[name]
  size = process.num_embeddings
  pi = np.append(np.full(V, p_u / V), 1 - p_u)[:size]
  states = toy.joint_states(size, 2)
  law = pi[states].prod(-1)
  for t, s in itertools.pairwise(np.linspace(1, 0, steps + 1)):
    if name == "generalized_absorbing":
      posterior = partial(revealed_by_token, stays=(s / t) ** EXPONENTS, states=states)
    else:
      a_t, a_s = (1 - float(process.noised(jnp.float32(time))) for time in (t, s))
      posterior = partial(posterior_of_noise, a_s=a_s, ratio=a_t / a_s, pi=pi, states=states)
    times = jnp.full(len(states), t, jnp.float32)
    p, q = (softmax64(predict(joint)(jnp.asarray(states), times)) for joint in (ONE, MIXED))
    if of_predictions:
      moves = posterior(product_of_powers(p, q, scale))
    else:
      moves = product_of_powers(posterior(p), posterior(q), scale)
    first, second = moves[:, 0, states[:, 0]], moves[:, 1, states[:, 1]]
    law = law @ (first * second)
  return law[(states < V).all(-1)]


def softmax64(log_p):
  p = np.exp(np.asarray(log_p, np.float64))
  return p / p.sum(-1, keepdims=True)


@pytest.mark.proves("law", process="{name}", sampler="guidance")
@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("name", CHAINS)
def test_the_guided_chain_is_the_enumerated_one(name, scale):
  _, denoiser, _ = CHAINS[name]
  process, denoise = guidance.guide(PROCESSES[name], denoiser(ONE), denoiser(MIXED), scale)
  of_predictions = isinstance(process, RevealsOnce)
  tokens = draw(process, denoise, (ROWS, 2), steps=3).tokens
  assert ONE.p_value(tokens, enumerated(name, scale, 3, of_predictions)) > 1e-3
  if scale > 1 and not of_predictions:  # predictions in place of posteriors would be seen
    assert ONE.p_value(tokens, enumerated(name, scale, 3, of_predictions=True)) < 1e-6
  if scale > 1:
    assert ONE.p_value(tokens, enumerated(name, 1.0, 3, of_predictions)) < 1e-6


def test_a_guided_joint_is_more_like_its_label():
  """Two joints told apart by a label: guidance raises the probability of the label's own."""
  one, other = toy.joint(seed=0), toy.joint(seed=1)
  process = PROCESSES["absorbing"]
  exact = toy.absorbing_denoiser(one)
  mixed = toy.Joint(3, 3, one.sequences, (one.probs + other.probs) / 2)
  shape = (4000, 3)
  of_label = []
  for scale in (0.0, 1.0, 3.0):
    guided_process, pair = guidance.guide(process, exact, toy.absorbing_denoiser(mixed), scale)
    found = one.index(draw(guided_process, pair, shape, steps=48).tokens)
    of_label.append(np.mean(one.probs[found] / (one.probs + other.probs)[found]))
  assert of_label[0] + 0.03 < of_label[1] < of_label[2] - 0.03
