"""What is peculiar to absorbing noise: schedules, discrete time, weightings, the mask's place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing
from dlm_jax.processes.parts.times import Times
from dlm_jax.schedules import alpha_schedules
from tests import toy

JOINT = toy.joint()
WRONG = toy.wrong_denoiser(toy.absorbing_denoiser(JOINT))


def expected_nelbo(process, denoise, t):
  """The mean of `nelbo` at each time, over data and noise, by enumerating all sequences and masks.

  float64 `[T]`, nats a sequence. The noise that `corrupt` draws is replaced by each mask in turn;
  weight and masked fraction are the process's own.
  """
  length = JOINT.length
  masks = np.array(np.meshgrid(*[[False, True]] * length, indexing="ij")).reshape(length, -1).T
  total = np.zeros(len(t))
  masked, weight = np.asarray(process.masked(t), float), np.asarray(process.weight(t), float)
  for mask in masks:
    z = np.where(mask, process.mask_id, JOINT.sequences)
    log_p = np.asarray(process.predict(denoise(z, None), z, None).log_probs, float)
    nll = -np.take_along_axis(log_p, JOINT.sequences[..., None], -1)[..., 0]
    cost = JOINT.probs @ (nll * mask).sum(-1)
    total += cost * masked ** mask.sum() * (1 - masked) ** (~mask).sum()
  return weight * total


@pytest.mark.parametrize("name", sorted(alpha_schedules.classes()))
@pytest.mark.parametrize("denoise", [toy.absorbing_denoiser(JOINT), WRONG], ids=["exact", "wrong"])
def test_bound_does_not_depend_on_the_schedule(name, denoise):
  """The integral over t by quadrature in the masked fraction, where the integrand is a cubic."""
  process = absorbing.make(vocab_size=JOINT.vocab_size, schedule={"name": name})
  nodes, widths = np.polynomial.legendre.leggauss(8)
  fraction = jnp.asarray((nodes + 1) / 2, jnp.float32)
  t = process.time_of_masked(fraction)
  # dt = d masked / masked'(t), and masked' = weight * masked.
  jacobian = 1.0 / np.asarray(process.weight(t) * process.masked(t), float)
  bound = float((expected_nelbo(process, denoise, t) * jacobian * widths / 2).sum())
  linear = absorbing.make(vocab_size=JOINT.vocab_size)
  reference = float((expected_nelbo(linear, denoise, fraction) * widths / 2).sum())
  assert bound == pytest.approx(reference, rel=2e-3)
  if denoise is not WRONG:
    assert reference == pytest.approx(JOINT.entropy, rel=1e-5)
  else:
    assert reference > JOINT.entropy * 1.01


@pytest.mark.parametrize("name", ["cosine", "geometric", "log_linear", "square_root"])
def test_nelbo_draws_what_the_quadrature_integrates(name):
  process = absorbing.make(vocab_size=JOINT.vocab_size, schedule={"name": name})
  rows = 1 << 15
  for t in (0.35, 0.8):
    x = JOINT.draw(1, rows)
    nats = process.nelbo(jax.random.key(2), WRONG, x, jnp.full(rows, t)).sum(-1)
    expected = expected_nelbo(process, WRONG, jnp.asarray([t], jnp.float32))[0]
    assert abs(float(nats.mean()) - expected) < 4 * float(nats.std()) / np.sqrt(rows)


@pytest.mark.parametrize("name", ["linear", "cosine", "geometric", "log_linear"])
@pytest.mark.parametrize("given", [None, [True, False, False]], ids=["free", "given"])
def test_counted_masking_gives_the_same_bound_with_less_noise(name, given):
  """The bound of sequences drawn from the joint, the first token given or not."""
  rows = 1 << 15
  x = JOINT.draw(3, rows)
  known = None if given is None else np.broadcast_to(given, x.shape)
  t, _ = Times(epsilon=0.0).draw(jax.random.key(0), rows, None)
  nats = {}
  for masking in absorbing.MASKINGS:
    process = absorbing.make(vocab_size=3, schedule={"name": name}, masking=masking)
    nats[masking] = np.asarray(process.nelbo(jax.random.key(1), WRONG, x, t, known).sum(-1))
  means = {masking: values.mean() for masking, values in nats.items()}
  errors = {masking: values.std() / np.sqrt(rows) for masking, values in nats.items()}
  assert errors["counted"] < 0.8 * errors["independent"]
  assert abs(means["counted"] - means["independent"]) < 4 * np.hypot(*errors.values())


def test_counted_masking_masks_the_count_and_spares_what_is_given():
  process = absorbing.make(vocab_size=3, masking="counted", schedule={"name": "cosine"})
  t = jnp.asarray([0.0, 0.3, 0.5, 0.9, 1.0])
  x, given = np.ones((5, 8), np.int32), np.arange(40).reshape(5, 8) % 3 == 0
  masked = np.asarray(process.corrupt(jax.random.key(0), x, t, given) == process.mask_id)
  assert not masked[given].any()
  expected = np.ceil(np.asarray(process.masked(t)) * (~given).sum(1))
  np.testing.assert_array_equal(masked.sum(1), expected)
  with pytest.raises(UserError, match="one time a row"):
    process.corrupt(jax.random.key(0), x, jnp.full((5, 8), 0.5))


def discrete_bound(timesteps):
  process = absorbing.make(vocab_size=JOINT.vocab_size, timesteps=timesteps)
  rows = 1 << 16
  t, _ = Times(epsilon=0.0).draw(jax.random.key(0), rows, process)
  exact = toy.absorbing_denoiser(JOINT)
  nats = process.nelbo(jax.random.key(1), exact, JOINT.draw(0, rows), t).sum(-1)
  return float(nats.mean()), float(nats.std()) / np.sqrt(rows)


def test_one_step_bound_is_the_sum_of_marginal_entropies():
  symbols = JOINT.sequences[..., None] == np.arange(JOINT.vocab_size)
  marginals = np.einsum("n,nlv->lv", JOINT.probs, symbols)
  mean, error = discrete_bound(1)
  assert abs(mean + (marginals * np.log(marginals)).sum()) < 4 * error


def test_many_step_bound_approaches_the_entropy_from_above():
  (coarse, _), (fine, error) = discrete_bound(4), discrete_bound(1000)
  assert coarse > fine
  assert abs(fine - JOINT.entropy) < 4 * error + 2e-3


def test_discrete_weight_is_the_papers():
  """T expm1(gamma_t - gamma_s) alpha_s with gamma = log SNR (MD4), and 1/t for linear alpha."""
  steps, schedule = 10, alpha_schedules.make({"name": "cosine"})
  process = absorbing.make(vocab_size=3, timesteps=steps, schedule={"name": "cosine"})
  t = jnp.asarray([0.25, 0.7])
  grid, weight = process._on_grid(t)
  np.testing.assert_allclose(grid, [0.3, 0.7])
  a_t, a_s = schedule.alpha(grid), schedule.alpha(grid - 1 / steps)
  gamma = lambda a: jnp.log(a / (1 - a))  # noqa: E731
  expected = -steps * jnp.expm1(gamma(a_t) - gamma(a_s)) * a_s
  np.testing.assert_allclose(weight, expected, rtol=1e-4)
  linear = absorbing.make(vocab_size=3, timesteps=steps)
  np.testing.assert_allclose(linear._on_grid(t)[1], 1 / grid, rtol=1e-5)


def test_weightings_of_the_loss():
  x, t = JOINT.draw(0, 512), jnp.full(512, 0.1)
  key, exact = jax.random.key(0), toy.absorbing_denoiser(JOINT)

  def loss(**fields):
    return absorbing.make(vocab_size=3, **fields).loss(key, exact, x, t)

  nelbo = absorbing.make(vocab_size=3).nelbo(key, exact, x, t)
  assert float(nelbo.sum()) > 0
  np.testing.assert_allclose(loss(), nelbo)
  np.testing.assert_allclose(loss(weighting="uniform"), nelbo / 10, rtol=1e-5)
  np.testing.assert_allclose(loss(weighting="min_capped", weight_cap=4.0), nelbo * 0.4, rtol=1e-5)
  np.testing.assert_allclose(loss(weighting="min_capped", weight_cap=40.0), nelbo, rtol=1e-5)


def test_a_mask_inside_the_vocabulary_is_never_predicted():
  process = absorbing.make(vocab_size=4, mask_id=1)
  assert process.num_embeddings == 4
  z = jnp.asarray([[1, 2]])
  log_p = process.predict(jnp.zeros((1, 2, 4)), z, jnp.ones(1)).log_probs
  np.testing.assert_allclose(jnp.exp(log_p), [[[1 / 3, 0, 1 / 3, 1 / 3], [0, 0, 1, 0]]], rtol=1e-6)
  state, t = jnp.ones((64, 2), jnp.int32), jnp.ones(64)
  prediction = process.predict(jnp.zeros((64, 2, 4)), state, t)
  drawn = process.reverse(jax.random.key(0), prediction, state, t, jnp.zeros(64))
  assert set(np.unique(drawn)) == {0, 2, 3}


def test_a_mask_outside_the_vocabulary_adds_an_embedding():
  assert absorbing.make(vocab_size=4).num_embeddings == 5


def test_untrained_bound_is_log_v_a_token():
  rows = 1 << 14
  process = absorbing.make(vocab_size=5)
  x = np.random.default_rng(0).integers(0, 5, (rows, 4), np.int32)
  t, _ = Times(epsilon=0.0).draw(jax.random.key(0), rows, process)
  nats = process.nelbo(jax.random.key(1), lambda z, t: jnp.zeros((*z.shape, 5)), x, t)
  error = float(nats.mean(-1).std()) / np.sqrt(rows)
  assert abs(float(nats.mean()) - np.log(5)) < 4 * error


def test_reveal_fraction_follows_the_schedule():
  process = absorbing.make(vocab_size=3, schedule={"name": "cosine"})
  shape = (4096, 16)
  z = process.prior(jax.random.key(0), shape)
  t, s = jnp.full(shape[0], 0.9), jnp.full(shape[0], 0.4)
  prediction = process.predict(jnp.zeros((*shape, 3)), z, t)
  out = process.reverse(jax.random.key(1), prediction, z, t, s)
  left = float((out == process.mask_id).mean())
  assert left == pytest.approx(float(process.masked(s[0]) / process.masked(t[0])), abs=0.01)


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"mask_id": 7}, "process.mask_id is 7"),
    ({"timesteps": 0}, "Absorbing.timesteps"),
    ({"weighting": "nelbow"}, "did you mean 'nelbo'"),
    ({"masking": "count"}, "did you mean 'counted'"),
    ({"masking": "counted", "timesteps": 10}, "in continuous time only"),
    ({"schedule": {"name": "liner"}}, "did you mean 'linear'"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    absorbing.make(vocab_size=5, **fields)
