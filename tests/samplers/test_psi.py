"""One step of psi sampling by matrices, and its limits: ancestral sampling and ReMDM."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, hybrid, uniform
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.draws import row_keys
from dlm_jax.samplers.base import State
from tests import toy
from tests.samplers import drawing

JOINT = toy.joint()
V = JOINT.vocab_size
ROWS = 100_000
P = np.array([0.6, 0.3, 0.1])


def law(p_u, t, s, z, kappa):
  """kappa q(z_s | z_t, p) + (1 - kappa) q(z_s | x ~ p(x | z_t)) of one position, by matrices."""
  pi = np.append(np.full(V, p_u / V), 1 - p_u)
  forward = lambda alpha: alpha * np.eye(V + 1) + (1 - alpha) * pi  # noqa: E731
  p = np.append(P, 0.0)
  clean = p * forward(1 - t)[:, z]  # Bayes' rule: the token is seen through the noise too
  step = (p @ forward(1 - s)) * forward((1 - t) / (1 - s))[:, z]
  return kappa * step / step.sum() + (1 - kappa) * (clean / clean.sum()) @ forward(1 - s)


def one_step(sampler, process, z, t, s, seed):
  """How often each state follows the state `z` of one position, of `ROWS` draws."""
  keys = row_keys(jax.random.key(seed), ROWS)
  state = State(
    z=jnp.full((ROWS, 1), z),
    given=None,
    keys=keys,
    index=jnp.int32(0),
    steps=1,
    memory=jnp.zeros((ROWS, 1)),
  )
  prediction = Prediction(jnp.broadcast_to(jnp.log(P), (ROWS, 1, V)))
  after = sampler.step(state, prediction, jnp.full(ROWS, t), jnp.full(ROWS, s), process)
  return np.bincount(np.asarray(after.z)[:, 0], minlength=V + 1)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("p_u", [0.0, 0.3, 1.0])
def test_one_step(p_u, kappa):
  process, t, s = hybrid.make(vocab_size=V, p_u=p_u), 0.7, 0.4
  for z in range(V + 1) if 0 < p_u < 1 else [V if p_u == 0 else 0]:
    counts = one_step(drawing.make("psi", kappa=kappa), process, z, t, s, seed=z)
    expected = law(p_u, t, s, z, kappa)
    possible = expected > 1e-12
    assert counts[~possible].sum() == 0
    assert stats.chisquare(counts[possible], ROWS * expected[possible]).pvalue > 1e-4


def test_under_absorbing_noise_it_is_remdm():
  """kappa = 1 - sigma / (1 - alpha_s): both chains are the same in law, for sigma of `rescale`."""
  process, eta, t, s = absorbing.make(vocab_size=V), 0.4, 0.7, 0.6
  sigma = eta * min(1.0, s / (1 - t))
  samplers = (
    drawing.make("psi", kappa=1 - sigma / s),
    drawing.make("remdm", strategy="rescale", eta=eta),
  )
  for z in (V, 0):
    counts = [one_step(sampler, process, z, t, s, seed) for seed, sampler in enumerate(samplers)]
    counts = np.array(counts)[:, np.sum(counts, axis=0) > 0]
    assert counts.shape[1] > 1
    assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_without_corrections_the_distribution_is_ancestral_s():
  process, shape = uniform.make(vocab_size=V), (20_000, JOINT.length)
  denoise = toy.mixture_denoiser(JOINT)
  frequencies = []
  for sampler in (drawing.make("psi", kappa=1.0), drawing.make("ancestral")):
    tokens = drawing.draw(sampler, process, denoise, shape, steps=2).tokens
    frequencies.append(np.bincount(JOINT.index(tokens), minlength=len(JOINT.probs)))
  assert stats.chi2_contingency(frequencies).pvalue > 1e-3


def test_tokens_change_after_they_were_revealed():
  process = absorbing.make(vocab_size=V)
  psi, denoise = drawing.make("psi", kappa=0.8), toy.absorbing_denoiser(JOINT)
  frames = drawing.draw(psi, process, denoise, (100, 3), steps=50, trajectory=True).trajectory
  assert np.any((frames[:-1] != V) & (frames[1:] == V))
  assert not np.any(frames[-1] == V)


@pytest.mark.parametrize("kappa", [-0.1, 1.1])
def test_mistakes(kappa):
  with pytest.raises(UserError, match=r"kappa must lie in \[0, 1\]"):
    drawing.make("psi", kappa=kappa)
