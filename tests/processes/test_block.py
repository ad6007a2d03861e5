"""Block diffusion: its limits, its times and the pattern of what sees what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Causal
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.model.denoiser import Denoiser
from dlm_jax.model.head import Head
from dlm_jax.processes import absorbing, base, block, draws, uniform
from dlm_jax.processes.parts.times import Times
from tests import toy
from tests.networks.test_transformer import logits, network, random_params

JOINT = toy.joint(length=4)
B, L, V = 3, 16, 11
TOKENS = np.random.default_rng(0).integers(0, V, (B, L), np.int32)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def trained():
  net = network(time_conditioned=True, depth=2)
  return net, random_params(net)


def denoiser(trained, process, **fields):
  return Denoiser(*trained, pattern=process.pattern, **fields)


def test_single_tokens_are_exact_row_by_row():
  process = block.make(vocab_size=JOINT.vocab_size, block_size=1)
  exact, rows = toy.block_denoiser(JOINT, 1), len(JOINT.sequences)
  nats = toy.compiled(process.nelbo, KEY, exact, JOINT.sequences, jnp.full(rows, 0.2)).sum(-1)
  np.testing.assert_allclose(nats, -np.log(JOINT.probs), rtol=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_single_tokens_give_the_autoregressive_likelihood_of_the_network(trained, schedule):
  """One position at a time: the tokens before it and a mask, under plain causal attention."""
  inner = {"name": "absorbing", "schedule": {"name": schedule}}
  process = block.make(vocab_size=V, block_size=1, inner=inner)
  net = network(depth=2)  # not conditioned on time: the mask is at time 1, the others at 0
  nats = toy.compiled(
    process.nelbo, KEY, denoiser((net, trained[1]), process), TOKENS, jnp.full(B, 0.3)
  )
  assert process.exact

  @jax.jit
  def last(row):
    # The network itself, without the shift of the denoiser: it sees `row`.
    return logits(net, trained[1], row, jnp.zeros(1), pattern=Causal(begin=0))[:, -1]

  for i in (1, 2, 7):
    row = np.append(TOKENS[:1, :i], [[process.mask_id]], axis=1)
    log_p = jax.nn.log_softmax(last(row))[0]
    assert float(nats[0, i]) == pytest.approx(-float(log_p[TOKENS[0, i]]), rel=1e-3, abs=1e-4)


def test_one_block_is_the_plain_process(trained):
  """To float32 error, at the same times and noise, whatever the clean tokens are."""
  for inner, plain in (
    ("absorbing", absorbing.make(vocab_size=V)),
    ("uniform", uniform.make(vocab_size=V)),
  ):
    process = block.make(vocab_size=V, inner=inner, block_size=L)
    t = jnp.array([0.2, 0.5, 1.0])
    _, noise_key = draws.split_rows(KEY, B, 2)
    expected = toy.compiled(plain.nelbo, noise_key, Denoiser(*trained), TOKENS, t)
    found = toy.compiled(process.nelbo, KEY, denoiser(trained, process), TOKENS, t)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert float(expected.sum()) > 0


def test_times_are_stratified_over_batch_and_blocks():
  rows, length = 8, 20
  process = block.make(vocab_size=V, block_size=4)
  t, _ = Times(epsilon=0.0).draw(KEY, rows, process)
  times = np.asarray(process.times(KEY, t, length))
  np.testing.assert_array_equal(times, times[:, ::4].repeat(4, axis=1))
  spread = np.sort(times[:, ::4].ravel())
  np.testing.assert_allclose(np.diff(spread), 1 / (rows * 5), atol=1e-6)
  assert spread[0] > 0 and spread[-1] <= 1


def test_the_time_of_each_block_is_uniform():
  process, rows = block.make(vocab_size=V, block_size=2), 20_000
  t, _ = Times(epsilon=0.0).draw(KEY, rows, process)
  times = np.asarray(process.times(jax.random.key(1), t, 5))  # a short last block
  assert times.shape == (rows, 5)
  for b in (0, 2, 4):
    np.testing.assert_allclose(
      np.quantile(times[:, b], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02
    )


def test_the_loss_draws_its_times_within_the_clip():
  seen = []

  def denoise(z, t, clean):
    seen.append(t)
    return jnp.zeros((*z.shape, V))

  process = block.make(vocab_size=V, block_size=4, clip=(0.3, 0.8))
  process.loss(KEY, denoise, TOKENS, jnp.array([0.01, 0.5, 1.0]))
  process.nelbo(KEY, denoise, TOKENS, jnp.array([0.01, 0.5, 1.0]))
  clipped, whole = (np.asarray(t) for t in seen)
  np.testing.assert_allclose(clipped, 0.3 + 0.5 * whole, rtol=1e-5)
  assert whole.min() < 0.3 and whole.max() > 0.8


def test_above_one_half_all_masks_weigh_the_same():
  """The cross-entropy, log V a mask, at times of 0.75; the bound weighs it by their inverse."""
  inner = {"name": "absorbing"}
  t, denoise = jnp.full(B, 0.5), lambda z, t, clean: jnp.zeros((*z.shape, V))
  for clip, weight in (((0.75, 0.75), 1.0), ((0.5, 0.5), 2.0)):
    process = block.make(vocab_size=V, block_size=4, inner=inner, clip=clip)
    loss = np.asarray(process.loss(KEY, denoise, TOKENS, t))
    masked = int(4 * clip[0]) * B * L // 4
    assert (loss > 0).sum() == masked
    np.testing.assert_allclose(loss[loss > 0], weight * np.log(V), rtol=1e-5)


def test_a_full_clip_changes_nothing(trained):
  process = block.make(vocab_size=V, block_size=4)
  denoise, t = denoiser(trained, process), jnp.array([0.1, 0.5, 0.9])
  np.testing.assert_array_equal(
    *(f(KEY, denoise, TOKENS, t) for f in (process.loss, process.nelbo))
  )


@pytest.mark.parametrize("size", [1, 4, 5])
def test_what_a_noisy_block_depends_on(trained, size):
  """Its own noisy tokens and the clean ones before, nothing else; of the network as a whole."""
  process = block.make(vocab_size=V, block_size=size)
  denoise = denoiser(trained, process)
  run = jax.jit(lambda z, clean: denoise(z, jnp.full(B, 0.5), clean=clean))
  expected, of_position = run(TOKENS, TOKENS), np.arange(L) // size
  for i in (0, 6):
    changed = TOKENS.copy()
    changed[:, i] = (changed[:, i] + 1) % V
    for moved, where in (
      (run(changed, TOKENS), of_position == of_position[i]),
      (run(TOKENS, changed), of_position > of_position[i]),
    ):
      difference = np.abs(moved - expected).max(axis=(0, 2))
      assert (difference[where] > 1e-6).all() and not difference[~where].any()


def test_head_economies_change_nothing(trained):
  process = block.make(vocab_size=V, block_size=4)
  t = jnp.array([0.1, 0.5, 0.9])
  nats = toy.compiled(process.nelbo, KEY, denoiser(trained, process), TOKENS, t)
  for head in (Head(chunks=4), Head(chunks=4, few=True)):
    ours = process.nelbo(KEY, denoiser(trained, process, head=head), TOKENS, t)
    np.testing.assert_allclose(ours, nats, rtol=1e-4, atol=1e-5)


def table_network(z, t, clean):
  """Logits from a table of the tokens seen, moved by the time of each position."""
  table = jax.random.normal(jax.random.key(7), (V, V))
  if isinstance(z, SoftTokens):
    rows = jnp.einsum("blk,blkv->blv", z.weights, table[z.tokens])
  else:
    rows = table[jnp.minimum(z, V - 1)]
  return rows + table[clean] + jnp.reshape(t, (B, -1, 1))


def test_the_exponents_of_the_inner_process_are_learned():
  process = block.make(vocab_size=V, inner="generalized_absorbing", block_size=4)
  params = process.init(KEY)

  def loss(params):
    return process.bind(params).loss(KEY, table_network, TOKENS, jnp.full(B, 0.5)).sum()

  slope = jax.jit(jax.grad(loss))(params)["schedule"]["exponents"]
  assert np.isfinite(slope).all() and np.any(slope != 0)


def test_the_curriculum_of_the_inner_process_runs_and_ends():
  inner = {"name": "duo", "curriculum_steps": 5, "temperature": 0.5}
  process = block.make(vocab_size=V, inner=inner, block_size=4)
  args = (table_network, TOKENS, jnp.array([0.2, 0.5, 0.9]))
  during, after = (
    toy.compiled(process.at_step(jnp.int32(step)).loss, KEY, *args) for step in (4, 5)
  )
  time_key, noise_key = draws.split_rows(KEY, B, 2)
  times = process.times(time_key, args[2], L)
  denoise = base.conditioned(table_network, clean=TOKENS)
  expected = toy.compiled(process.inner.curriculum_loss, noise_key, denoise, TOKENS, times)
  np.testing.assert_allclose(during, expected, rtol=1e-5)
  np.testing.assert_allclose(after, toy.compiled(process.nelbo, KEY, *args), rtol=1e-5)


def test_a_filtered_prediction_of_scores_reveals_as_many_tokens():
  """Scores that normalise reveal half of the tokens between t = 1 and 1/2, filtered or not."""
  inner = {"name": "score_absorbing", "schedule": {"name": "linear"}}
  process, rows = block.make(vocab_size=V, inner=inner, block_size=4), 4096
  z, t, s = jnp.full((rows, 4), V), jnp.ones(rows), jnp.full(rows, 0.5)
  prediction = process.predict(jnp.zeros((rows, 4, V)), z, t)
  filtered = prediction.with_log_probs(prediction.log_probs)
  for each in (prediction, filtered):
    revealed = process.reverse(KEY, each, z, t, s) != V
    assert float(revealed.mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"block_size": 0}, "Block.block_size must be at least 1, got 0"),
    ({"clip": (0.5, 0.2)}, r"process.clip must be two times .* in order, got \(0.5, 0.2\)"),
    ({"clip": (0.0, 0.0)}, "process.clip"),
    ({"block_siz": 3}, "did you mean 'block_size'"),
    ({"inner": "absorbin"}, "did you mean 'absorbing'"),
    ({"inner": "block"}, "process.inner is Block, whose network does not see the whole"),
    ({"inner": "autoregressive"}, "process.inner is Autoregressive"),
    ({"inner": {"name": "gaussian"}}, "must be a process of tokens, .* Gaussian"),
    ({"inner": {"name": "absorbing", "timestep": 3}}, "did you mean 'timesteps'"),
    ({"inner": {"name": "absorbing", "masking": "counted"}}, "set it to 'independent'"),
    ({"inner": {"block_size": 3}}, "has no 'name'"),
    ({"timesteps": 3}, "Block has no field 'timesteps'"),
  ],
)
def test_mistakes_are_named(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    block.make(vocab_size=5, **fields)
