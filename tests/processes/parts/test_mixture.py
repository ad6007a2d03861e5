"""Uniform and hybrid noise: the bound to many digits, the papers' formulas, and both limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, gidd, hybrid, uniform
from dlm_jax.processes.draws import row_keys
from tests import toy

JOINT = toy.joint()
V = JOINT.vocab_size
PROCESSES = {
  "uniform": uniform.make(vocab_size=V),
  "hybrid": hybrid.make(vocab_size=V, p_u=0.2),
  "half": hybrid.make(vocab_size=V, p_u=0.5, schedule={"name": "cosine"}),
  "geometric": uniform.make(vocab_size=V, schedule={"name": "geometric"}),
  "masks": hybrid.make(vocab_size=V, p_u=0.0),
  "tokens": hybrid.make(vocab_size=V, p_u=1.0),
  "gidd": gidd.make(vocab_size=V, p_u=0.2),
  "gidd_cosine": gidd.make(vocab_size=V, p_u=0.5, schedule={"name": "cosine"}),
}


@pytest.fixture(params=PROCESSES)
def process(request):
  return PROCESSES[request.param]


def noise_matrix(process):
  """t -> q(z_t | x) of one position, `[V, states]`."""
  states, kept = jnp.arange(process.num_embeddings), jnp.eye(V, process.num_embeddings)

  def q(t):
    level = process.level(t)
    return level.alpha * kept + level.noise * process.noise_prob(states, level.p_u)

  return q


def bound(process, denoise):
  return toy.quadrature_bound(JOINT, process, denoise, noise_matrix(process))


def exact_denoiser(process):
  return toy.mixture_denoiser(JOINT, lambda t: process.level(t).p_u, process.noised)


def test_bound_of_the_exact_denoiser_is_the_entropy(process):
  exact = exact_denoiser(process)
  assert bound(process, exact) == pytest.approx(JOINT.entropy, rel=2e-4)


@pytest.mark.parametrize("name", ["uniform", "hybrid", "half"])
def test_the_posterior_that_sees_its_own_token_is_not_the_optimum(name):
  """The parameterization wants p(x_i | z without z_i): p(x_i | z) counts the noisy token twice."""
  process = PROCESSES[name]
  twice = toy.full_posterior(JOINT, process.uniform_fraction, process.noised)
  exact = exact_denoiser(process)
  assert bound(process, twice) > JOINT.entropy * 1.01
  assert bound(process, toy.wrong_denoiser(exact)) > JOINT.entropy * 1.01


def random_draws(process, t, rows=512, seed=0):
  """x, z, logits and times `[rows]`, the same time for all."""
  rng = np.random.default_rng(seed)
  x = rng.integers(0, V, (rows, 2)).astype(np.int32)
  t = jnp.full(rows, t)
  noise = np.asarray(process.prior(jax.random.key(seed), x.shape))
  z = np.where(rng.random(x.shape) < 0.5, noise, x)  # noise at small times too
  return x, z, 2 * jax.random.normal(jax.random.key(seed + 1), (rows, 2, V)), t


def nelbo_at(process, x, z, logits, t):
  """The integrand where the noise is `z`, float64."""
  values = toy.noised_as(process, z).nelbo(jax.random.key(0), lambda z, t: logits, x, t)
  return np.asarray(values, np.float64)


def softmax64(logits):
  logits = np.asarray(logits, np.float64)
  p = np.exp(logits - logits.max(-1, keepdims=True))
  return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize("t", [1e-4, 0.01, 0.3, 0.9, 0.999, 1 - 1e-6])
def test_uniform_integrand_is_udlm_s(t):
  """UDLM, eq. 18, as it is written, in float64."""
  process = uniform.make(vocab_size=V)
  x, z, logits, times = random_draws(process, t)
  a = 1.0 - float(times[0])
  one_hot = np.eye(V)
  true = V * a * one_hot[x] + 1 - a
  model = V * a * softmax64(logits) + 1 - a
  at_z = lambda w: np.take_along_axis(w, np.asarray(z)[..., None], -1)  # noqa: E731
  ratio = true / at_z(true)
  sums = (ratio * (np.log(at_z(model) / model) + np.log(ratio))).sum(-1)
  expected = -1 / (V * a) * ((V / at_z(true) - V / at_z(model))[..., 0] - sums)
  found = nelbo_at(process, x, z, logits, times)
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
  assert (found >= -1e-7).all()


@pytest.mark.parametrize("t", [0.01, 0.5, 0.99])
def test_uniform_integrand_is_duo_s(t):
  """Duo's form of it, whose terms are sums and entries of the prediction alone, in float64."""
  process = uniform.make(vocab_size=V)
  x, z, logits, times = random_draws(process, t)
  a = 1.0 - float(times[0])
  model = V * a * softmax64(logits) + 1 - a
  at_x, at_z = (np.take_along_axis(model, i[..., None], -1)[..., 0] for i in (x, np.asarray(z)))
  zeta, same = (1 - a) / (V * a + 1 - a), np.asarray(z) == x
  true_at_z = np.where(same, V * a + 1 - a, 1 - a)
  sums = np.where(same, zeta, 1.0) * (V * np.log(at_z) - np.log(model).sum(-1))
  sums += np.where(same, 0.0, V * a / (1 - a) * np.log(at_z / at_x))
  sums += np.where(same, (V - 1) * zeta, -1 / zeta) * np.log(zeta)
  expected = -1 / (V * a) * (V / true_at_z - V / at_z - sums)
  found = nelbo_at(process, x, z, logits, times)
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("t", [0.01, 0.5, 0.99])
def test_hybrid_integrand_is_gidd_s(t):
  """GIDD, theorem 1, as it is written, in float64."""
  process = hybrid.make(vocab_size=V, p_u=0.3)
  x, z, logits, times = random_draws(process, t)
  a = 1.0 - float(times[0])
  pi = np.append(np.full(V, 0.1), 0.7)
  q = a * np.eye(V, V + 1)[x] + (1 - a) * pi
  model = a * np.pad(softmax64(logits), ((0, 0), (0, 0), (0, 1))) + (1 - a) * pi
  q_z, model_z = (np.take_along_axis(w, np.asarray(z)[..., None], -1)[..., 0] for w in (q, model))
  divergences = (q * np.log(q / model)).sum(-1) + q_z / model_z - np.log(q_z / model_z) - 1
  expected = pi[np.asarray(z)] / a / q_z * divergences
  found = nelbo_at(process, x, z, logits, times)
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("t", [1e-5, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("schedule", ["linear", "geometric"])
def test_hybrid_without_uniform_noise_is_absorbing(t, schedule):
  fields = {"vocab_size": V, "schedule": {"name": schedule}}
  masks, reference = hybrid.make(p_u=0.0, **fields), absorbing.make(**fields)
  x, z, logits, times = random_draws(reference, t)
  expected = nelbo_at(reference, x, z, logits, times)
  found = nelbo_at(masks, x, z, logits, times)
  # A cross-entropy has seven digits of the logits, not of itself; the weight makes it large.
  weight = np.asarray(reference.weight(times), np.float64)[:, None]
  np.testing.assert_allclose(found / weight, expected / weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("t", [1e-5, 0.2, 0.7, 1.0])
def test_hybrid_of_uniform_noise_alone_is_uniform(t):
  tokens, reference = hybrid.make(vocab_size=V, p_u=1.0), uniform.make(vocab_size=V)
  x, z, logits, times = random_draws(reference, t)
  draw = jax.random.key(3)
  np.testing.assert_array_equal(tokens.corrupt(draw, x, times), reference.corrupt(draw, x, times))
  s, keys = times / 2, row_keys(draw, len(x))
  np.testing.assert_array_equal(
    *(p.reverse(keys, p.predict(logits, z, times), z, times, s) for p in (tokens, reference))
  )
  expected = nelbo_at(reference, x, z, logits, times)
  np.testing.assert_allclose(nelbo_at(tokens, x, z, logits, times), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("t, s", [(0.7, 0.4), (1.0, 0.9), (0.3, 0.0)])
@pytest.mark.parametrize("p_u", [0.0, 0.3, 1.0])
def test_reverse_draws_from_bayes_rule(t, s, p_u):
  """q(z_s | z_t, x-hat) from the forward matrices alone."""
  process, rows = hybrid.make(vocab_size=V, p_u=p_u), 40_000
  p = np.array([0.6, 0.3, 0.1])
  pi = np.append(np.full(V, p_u / V), 1 - p_u)
  kept = (1 - t) / (1 - s)
  step = kept * np.eye(V + 1) + (1 - kept) * pi  # q(z_t | z_s), a row a z_s
  at_s = (1 - s) * np.append(p, 0.0) + s * pi
  for z in range(V + 1):
    if (at_s @ step)[z] == 0:
      continue  # a state that noise cannot reach
    state = jnp.full((rows, 1), z)
    logits = jnp.broadcast_to(jnp.log(p), (rows, 1, V))
    times = jnp.full(rows, t), jnp.full(rows, s)
    prediction = process.predict(logits, state, times[0])
    out = process.reverse(jax.random.key(z), prediction, state, *times)
    expected = at_s * step[:, z] / (at_s @ step)[z]
    counts, possible = np.bincount(np.asarray(out)[:, 0], minlength=V + 1), expected > 1e-12
    assert counts[~possible].sum() == 0
    if possible.sum() > 1:
      p_value = stats.chisquare(counts[possible], rows * expected[possible]).pvalue
      assert p_value > 1e-4, (z, counts / rows, expected)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_dynamic_weights_of_gidd(t):
  """Masks weigh 2, random tokens 1, true ones about b / V sqrt(t / (1 - t)); the cap holds."""
  fields = {"vocab_size": V, "p_u": 0.2}
  x, times = np.zeros((1, 3), np.int32), jnp.full(1, t)
  z, logits = np.array([[V, 1, 0]]), jax.random.normal(jax.random.key(0), (1, 3, V))
  bound = nelbo_at(gidd.make(**fields), x, z, logits, times)
  dynamic = toy.noised_as(gidd.make(**fields, dynamic_weights=True, weight_cap=1.5), jnp.asarray(z))
  loss = dynamic.loss(jax.random.key(0), lambda z, t: logits, x, times)
  ratio = 0.5 / V * np.sqrt(t / (1 - t))  # b is 2 p_u / (1 - p_u)
  of_x = ratio / (1 + ratio)
  of_bound = np.array([2.0, 1.0, of_x]) / (2 * t * (1 - t))
  np.testing.assert_allclose(loss[0] / bound[0], [1.5, 1.0, of_x] / of_bound, rtol=1e-4)
  gradient = jax.grad(lambda o: dynamic.loss(jax.random.key(0), lambda z, t: o, x, times).sum())
  assert all(np.isfinite(gradient(logits)).all() for times in (jnp.zeros(1), jnp.ones(1)))


def test_the_prior_is_the_mixture():
  process = hybrid.make(vocab_size=4, p_u=0.25)
  z = np.asarray(process.prior(jax.random.key(0), (1000, 64)))
  frequencies = np.bincount(z.ravel(), minlength=5) / z.size
  np.testing.assert_allclose(frequencies, [0.0625] * 4 + [0.75], atol=0.005)
  assert process.mask_id == 4 and process.num_embeddings == 5
  assert uniform.make(vocab_size=4).num_embeddings == 4
  assert not hasattr(uniform.make(vocab_size=4), "mask_id")


def test_a_large_vocabulary_keeps_its_digits():
  """Untrained, every token costs log V, whatever the time it is integrated over."""
  size, rows = 5000, 4000
  process = uniform.make(vocab_size=size)
  rng = np.random.default_rng(0)
  x = rng.integers(0, size, (rows, 1)).astype(np.int32)
  t = jnp.asarray((np.arange(rows) + 0.5) / rows, jnp.float32)
  denoise = lambda z, t: jnp.zeros((*z.shape, size))  # noqa: E731
  nats = process.nelbo(jax.random.key(0), denoise, x, t)
  error = float(nats.std()) / np.sqrt(rows)
  assert abs(float(nats.mean()) - np.log(size)) < 4 * error


@pytest.mark.parametrize("p_u", [-0.1, 1.1])
def test_mistakes_are_named(p_u):
  with pytest.raises(UserError, match=r"Hybrid\.p_u must lie in \[0, 1\]"):
    hybrid.make(vocab_size=3, p_u=p_u)
