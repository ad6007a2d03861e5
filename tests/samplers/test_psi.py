import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, hybrid, uniform
from dlm_jax.samplers import ancestral, psi, remdm
from tests import toy

JOINT = toy.joint()
V = JOINT.vocab_size
ROWS = 40_000
P = np.array([0.6, 0.3, 0.1])


def law(p_u, t, s, z, kappa):
  """kappa q(z_s | z_t, p) + (1 - kappa) q(z_s | x ~ p(x | z_t)) of one position, by matrices."""
  pi = np.append(np.full(V, p_u / V), 1 - p_u)
  forward = lambda alpha: alpha * np.eye(V + 1) + (1 - alpha) * pi  # noqa: E731
  p = np.append(P, 0.0)
  clean = p * forward(1 - t)[:, z]  # Bayes' rule: the token is seen through the noise too
  step = (p @ forward(1 - s)) * forward((1 - t) / (1 - s))[:, z]
  return kappa * step / step.sum() + (1 - kappa) * (clean / clean.sum()) @ forward(1 - s)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("p_u", [0.0, 0.3, 1.0])
def test_one_step(monkeypatch, p_u, kappa):
  steps = []
  monkeypatch.setattr(psi.walking, "walk", lambda *args, **_: steps.append(args[5]))
  process, t, s = hybrid.make(vocab_size=V, p_u=p_u), 0.7, 0.4
  psi.sample(None, process, None, (ROWS, 1), steps=1, kappa=kappa)
  logits = jnp.broadcast_to(jnp.log(P), (ROWS, 1, V))
  for z in range(V + 1) if 0 < p_u < 1 else [V if p_u == 0 else 0]:
    states, times = jnp.full((ROWS, 1), z), (jnp.full(ROWS, t), jnp.full(ROWS, s))
    out, _ = steps[0](jax.random.key(z), logits, states, *times, None)
    expected = law(p_u, t, s, z, kappa)
    counts, possible = np.bincount(np.asarray(out)[:, 0], minlength=V + 1), expected > 1e-12
    assert counts[~possible].sum() == 0
    assert stats.chisquare(counts[possible], ROWS * expected[possible]).pvalue > 1e-4


def test_under_absorbing_noise_it_is_remdm(monkeypatch):
  """kappa = 1 - sigma / (1 - alpha_s): both chains are the same in law, for sigma of `rescale`."""
  process, eta, t, s, rows = absorbing.make(vocab_size=V), 0.4, 0.7, 0.6, 200_000
  sigma = eta * min(1.0, s / (1 - t))
  transitions = []
  monkeypatch.setattr(psi.walking, "walk", lambda *args, **_: transitions.append(args[5]))
  psi.sample(None, process, None, (rows, 1), steps=1, kappa=1 - sigma / s)
  remdm.sample(None, process, None, (rows, 1), steps=1, strategy="rescale", eta=eta)
  logits, times = jnp.broadcast_to(jnp.log(P), (rows, 1, V)), (jnp.full(rows, t), jnp.full(rows, s))
  confidence = jnp.zeros((rows, 1))
  for z in (V, 0):
    state, counts = jnp.full((rows, 1), z), []
    for seed, transition in enumerate(transitions):
      out, _ = transition(jax.random.key(seed), logits, state, *times, confidence)
      counts.append(np.bincount(np.asarray(out)[:, 0], minlength=V + 1))
    counts = np.array(counts)[:, np.sum(counts, axis=0) > 0]
    assert counts.shape[1] > 1
    assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_without_corrections_the_distribution_is_ancestral_s():
  process, shape = uniform.make(vocab_size=V), (20_000, JOINT.length)
  denoise = toy.mixture_denoiser(JOINT)
  frequencies = []
  for sampler, settings in ((psi.sample, {"kappa": 1.0}), (ancestral.sample, {})):
    run = lambda key: sampler(key, process, denoise, shape, steps=2, **settings)  # noqa: B023, E731
    tokens = jax.jit(run)(jax.random.key(0)).tokens
    frequencies.append(np.bincount(JOINT.index(tokens), minlength=len(JOINT.probs)))
  assert stats.chi2_contingency(frequencies).pvalue > 1e-3


def test_tokens_change_after_they_were_revealed():
  process = absorbing.make(vocab_size=V)
  run = lambda key: psi.sample(  # noqa: E731
    key, process, toy.absorbing_denoiser(JOINT), (100, 3), steps=50, kappa=0.8, trajectory=True
  )
  frames = np.asarray(jax.jit(run)(jax.random.key(0)).trajectory)
  assert np.any((frames[:-1] != V) & (frames[1:] == V))
  assert not np.any(frames[-1] == V)


@pytest.mark.parametrize("kappa", [-0.1, 1.1])
def test_mistakes(kappa):
  with pytest.raises(UserError, match=r"kappa must lie in \[0, 1\]"):
    psi.sample(None, uniform.make(vocab_size=3), None, (1, 1), steps=1, kappa=kappa)


def test_only_where_each_token_is_noised_by_itself():
  class Other:
    pass

  with pytest.raises(UserError, match=r"psi.*not defined.*Other.*absorbing, duo, hybrid.*uniform"):
    psi.sample(None, Other(), None, (1, 1), steps=1)
