"""What ReMDM masks again, and how much is masked at each time."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing
from dlm_jax.samplers import grids
from tests import toy
from tests.samplers import drawing

JOINT = toy.joint()
PROCESS = absorbing.make(vocab_size=JOINT.vocab_size, schedule={"name": "cosine"})
DENOISE = toy.absorbing_denoiser(JOINT)
ROWS, STEPS = 4000, 20


SETTINGS = ("strategy", "eta", "t_on", "t_off", "alpha_on", "scale", "exponent")


def run(denoise=DENOISE, rows=ROWS, **fields):
  """A draw with settings of the sampler and fields of the request, by name."""
  sampler = drawing.make("remdm", **{name: fields.pop(name) for name in SETTINGS if name in fields})
  fields = {"steps": STEPS, "trajectory": True} | fields
  return drawing.draw(sampler, PROCESS, denoise, (rows, JOINT.length), **fields)


def masked_fractions(result):
  return np.mean(result.trajectory == PROCESS.mask_id, axis=(1, 2))


@pytest.mark.parametrize(
  ("settings", "eta"),
  [
    *(({"strategy": s, "eta": eta}, eta) for s in ("cap", "rescale") for eta in (0.0, 0.3, 1.0)),
    ({"strategy": "corrector", "scale": 0.0}, 0.0),
    ({"strategy": "corrector", "scale": 4.0, "exponent": 0.25}, 4.0),
  ],
)
def test_as_much_is_masked_at_each_time_as_without(settings, eta):
  result = run(**settings)
  expected = np.asarray(PROCESS.masked(grids.times("uniform", STEPS)))
  np.testing.assert_allclose(masked_fractions(result), expected, atol=0.02)
  before, after = result.trajectory[:-1], result.trajectory[1:]
  remasked = np.mean((before != PROCESS.mask_id) & (after == PROCESS.mask_id))
  assert (remasked > 0.02) == (eta > 0)


def test_the_loop_stands_still_and_masks_again():
  settings = {"eta": 0.2, "t_on": 0.7, "t_off": 0.2, "alpha_on": 0.8}
  result = run(strategy="loop", **settings)
  fractions = masked_fractions(result)
  u = np.asarray(grids.times("uniform", STEPS))
  np.testing.assert_allclose(fractions[u >= 0.7], 0.2 + 0.8 * (u[u >= 0.7] - 0.7) / 0.3, atol=0.02)
  np.testing.assert_allclose(fractions[(u < 0.7) & (u > 0.2)], 0.2, atol=0.02)
  np.testing.assert_allclose(fractions[u <= 0.2], u[u <= 0.2], atol=0.02)
  before, after = result.trajectory[:-1], result.trajectory[1:]
  revealed = before != PROCESS.mask_id
  rate = (revealed & (after == PROCESS.mask_id)).sum((1, 2)) / np.maximum(revealed.sum((1, 2)), 1)
  standing = (u[:-1] <= 0.7 + 1e-6) & (u[1:] >= 0.2 - 1e-6)
  np.testing.assert_allclose(rate[standing], 0.2, atol=0.02)
  assert not rate[~standing].any()


def test_the_forward_backward_corrector_masks_what_the_noise_would():
  """At its rate at t, -alpha' / alpha, over the time of the step."""
  sampler = drawing.make("remdm", preset="forward_backward")
  masked_t, masked_s = jnp.array([[0.6]]), jnp.array([[0.5]])
  sigma = sampler.sigma(masked_t, masked_s, jnp.array([[False]]), jnp.zeros((1, 1)))
  np.testing.assert_allclose(sigma, 0.1 / 0.4, rtol=1e-5)


def test_the_corrector_of_discrete_flow_matching_has_the_schedule_of_its_paper():
  """Masked again at the rate 10 (t (1 - t))^(1/4) / (1 - t), where 1 - t is the revealed share."""
  sampler = drawing.make("remdm", preset="discrete_flow_matching")
  masked_t, masked_s = jnp.array([[0.6]]), jnp.array([[0.59]])
  sigma = sampler.sigma(masked_t, masked_s, jnp.array([[False]]), jnp.zeros((1, 1)))
  np.testing.assert_allclose(sigma, 10 * (0.6 * 0.4) ** 0.25 / 0.4 * 0.01, rtol=1e-5)


def test_a_preset_is_that_of_the_paper_but_for_what_is_given():
  loop = drawing.make("remdm", preset="paper_loop", eta=0.1)
  assert (loop.strategy, loop.eta, loop.t_on, loop.t_off) == ("loop", 0.1, 0.55, 0.05)
  assert drawing.make("remdm", preset="paper_cap").eta == 0.008
  assert drawing.make("remdm", preset="paper_loop_few_steps").eta == 0.04


def test_confidence_masks_the_least_sure_the_most():
  """Two tokens, revealed at .9 and .5, share sigma_max by softmax(-p)."""
  masked = jnp.array([[False, False, True]])
  sigma = drawing.make("remdm", strategy="confidence").sigma(
    jnp.array([[0.5]]), jnp.array([[0.4]]), masked, jnp.array([[0.9, 0.5, 0.0]])
  )
  shares = np.exp([-0.9, -0.5])
  np.testing.assert_allclose(sigma, [[*(0.8 * shares / shares.sum()), 0.0]], rtol=1e-5)


def test_confidence_is_that_at_which_a_token_was_revealed():
  """The first position is sure and the others are not: it is masked again less often."""
  logits = jnp.log(jnp.array([[0.98, 0.01, 0.01], [1 / 3] * 3, [1 / 3] * 3]))
  denoise = lambda z, t: jnp.broadcast_to(logits, (*z.shape, 3))  # noqa: E731
  result = run(denoise=denoise, strategy="confidence")
  before, after = result.trajectory[:-1], result.trajectory[1:]
  whole = np.all(before != PROCESS.mask_id, axis=-1)
  remasked = np.mean(after[whole] == PROCESS.mask_id, axis=0)
  ratio = np.exp(1 / 3 - 0.98)
  np.testing.assert_allclose(remasked[0] / remasked[1:], ratio, rtol=0.15)


def test_given_tokens_take_no_share_of_the_confidence():
  given = np.broadcast_to([True, False, False], (ROWS, 3))
  tokens = np.zeros((ROWS, 3), np.int32)
  result = run(strategy="confidence", tokens=tokens, given=given)
  np.testing.assert_array_equal(result.trajectory[:, :, 0], 0)
  before, after = result.trajectory[:-1, :, 1:], result.trajectory[1:, :, 1:]
  free = run(strategy="confidence").trajectory
  remasked = np.mean((before != 3) & (after == 3))
  assert remasked > np.mean((free[:-1] != 3) & (free[1:] == 3))


def test_reuse_changes_the_cost_alone():
  settings = {"rows": 2, "steps": 60, "eta": 0.05}
  plain, reusing = run(**settings), run(reuse=True, **settings)
  np.testing.assert_array_equal(plain.trajectory, reusing.trajectory)
  assert reusing.num_evaluations < plain.num_evaluations == 60


@pytest.mark.parametrize(
  "settings, message",
  [
    ({"strategy": "capp"}, "did you mean 'cap'"),
    ({"preset": "paper_cup"}, "did you mean 'paper_cap'"),
    ({"scale": -1.0}, "scale must be at least 0"),
    ({"eta": 1.5}, r"eta must lie in \[0, 1\]"),
    ({"t_on": 0.1, "t_off": 0.2}, r"sampler\.t_off must be below sampler\.t_on, got 0\.2 and 0\.1"),
    ({"alpha_on": 0.0}, r"alpha_on must lie in \(0, 1\)"),
  ],
)
def test_mistakes(settings, message):
  with pytest.raises(UserError, match=message):
    drawing.make("remdm", **settings)
