"""A student of a frozen teacher: what it starts as, what it is held against, and what it gains."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax import experiment
from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import synthetic_markov
from dlm_jax.generation.draw import DrawSettings, draw
from dlm_jax.model.model import load
from dlm_jax.processes import absorbing, autoregressive, draws, duo, uniform
from dlm_jax.runs import checkpoint, workdir
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training import distillation
from dlm_jax.training.distillation import DistillationConfig
from dlm_jax.training.run import train
from tests import tiny, toy

CHAIN = synthetic_markov.make(letters=5)
LENGTH = 16
DUO = {"name": "duo", "curriculum_steps": 100}
JOINT = toy.joint()


def config(data, **fields):
  return tiny.config(
    data,
    **{
      "process": {**DUO, "schedule": {"name": "linear"}},
      "network.time_conditioned": True,
      "network.dropout": 0.0,
      "data.corpus.train_characters": 100_000,
      "training.batch_size": 64,
      "training.log_every": 50,
      "training.evaluate_every": 1000,
      "checkpoint.save_every": 1000,
      **fields,
    },
  )


def student(data, teacher, steps=60, **fields):
  return config(
    data,
    **{
      "process": {**DUO, "curriculum_steps": 0, "schedule": {"name": "linear"}},
      "distillation.teacher": str(teacher),
      "distillation.gap": 0.125,
      "distillation.steps_per_round": 20,
      "training.steps": steps,
      "training.log_every": 10,
      "training.ema_decay": 0.9,
      **fields,
    },
  )


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("teacher") / "run"
  assert (
    train(config(data, **{"training.steps": 600, "optimizer.decay": "linear"}), str(workdir)) == 0
  )
  return workdir


def state_of(run, step=None):
  """The whole state of a checkpoint of the run, as saved."""
  wanted = experiment.build(workdir.read_config(run)).abstract_state
  return checkpoint.restore(str(run / "checkpoints"), wanted, step=step)[0]


def test_the_gap_doubles_each_round():
  made = DistillationConfig(teacher="x", gap=0.25, steps_per_round=10)
  found = [float(distillation.gap(made, jnp.int32(step))) for step in (0, 9, 10, 20, 50)]
  assert found == [0.25, 0.25, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("process", [duo.make(vocab_size=3), absorbing.make(vocab_size=3)])
def test_with_one_key_the_states_lie_on_one_path(process):
  """Argmax of Gaussian states with one noise: the token up to a time, then one other token."""
  x, key = JOINT.draw(0, 4096), jax.random.key(0)
  states = [np.asarray(process.corrupt(key, x, jnp.full(len(x), t))) for t in (0.2, 0.5, 0.8)]
  for earlier, later in itertools.pairwise(states):
    assert np.all((earlier == later) | (earlier == x))
    assert np.any(earlier != later)


def test_the_loss_is_a_divergence():
  process, x = uniform.make(vocab_size=3), JOINT.draw(0, 512)
  exact = toy.mixture_denoiser(JOINT)
  wrong = toy.wrong_denoiser(exact)
  t = jax.random.uniform(jax.random.key(1), (512,))
  rows = {"noise_keys": jax.random.key(0), "tokens": x, "t": t}
  same = distillation.divergence(process, (exact, exact), rows, (t, t))
  np.testing.assert_allclose(same, 0.0, atol=1e-5)  # no gap, one network
  other = np.asarray(distillation.divergence(process, (wrong, exact), rows, (t, t)))
  z = process.corrupt(draws.split_rows(rows["noise_keys"], 512, 2)[0], x, t)
  p, q = (np.asarray(process.predict(d(z, t), z, t).log_probs) for d in (wrong, exact))
  np.testing.assert_allclose(other, np.sum(np.exp(p) * (p - q), axis=-1), atol=1e-4)
  apart = np.asarray(distillation.divergence(process, (exact, exact), rows, (t, 0.7 * t)))
  assert apart.mean() > 0.01 and apart.min() > -1e-5
  given = np.zeros(x.shape, bool)
  given[:, 1] = True
  rows["given"] = given
  held = distillation.divergence(process, (wrong, exact), rows, (t, t))
  assert not np.asarray(held)[given].any()


def test_a_masked_model_learns_what_its_teacher_finds_in_two_steps():
  process, x = absorbing.make(vocab_size=3), JOINT.draw(0, 512)
  exact, t = toy.absorbing_denoiser(JOINT), jnp.full(512, 0.8)
  rows = {"noise_keys": jax.random.key(0), "tokens": x, "t": t}
  same = distillation.divergence(process, (exact, exact), rows, (t, t))
  np.testing.assert_allclose(same, 0.0, atol=1e-5)  # no time passes, nothing is revealed
  noise, steps = draws.split_rows(rows["noise_keys"], 512, 2)
  z, s = process.corrupt(noise, x, t), jnp.full(512, 0.2)
  found = np.asarray(distillation.divergence(process, (exact, exact), rows, (t, s)))
  masked = np.asarray(z) == 3
  assert not found[~masked].any() and found[masked].mean() > 0.01
  log_p = process.predict(exact(z, t), z, t)
  later = process.reverse(steps, log_p, z, t, (t + s) / 2)
  first, second = log_p.log_probs, process.predict(exact(later, s), later, s).log_probs
  target = jnp.where((later == 3)[..., None], second, first)
  expected = (jnp.exp(first) * (first - target)).sum(-1)
  np.testing.assert_allclose(found[masked], expected[masked], atol=1e-5)
  # What it revealed in the first step it has told there.
  assert not found[masked & (np.asarray(later) != 3)].any()


def test_times_at_which_gamma_is_linear():
  process = duo.make(vocab_size=30)
  config = DistillationConfig(teacher="x", gammas=(-4.0, -1.0))
  made = distillation.Distillation(process=process, network=None, head=None, config=config)
  times = made.times(process, jnp.array([0.0, 0.5]), jnp.array([0.25, 1.0]))
  gammas = jnp.array([[-4.0, -2.5], [-3.25, -1.0]])
  kept = duo.transformation(gammas, 30)
  np.testing.assert_allclose([process.alpha(t) for t in times], kept, atol=1e-5)


@pytest.mark.slow
def test_the_teacher_stays_until_the_round_ends_and_the_run_resumes(data, teacher, tmp_path):
  taught = load(str(teacher)).params
  whole, parts = tmp_path / "whole", tmp_path / "parts"
  assert train(student(data, teacher, steps=30), str(whole)) == 0
  for steps in (10, 30):
    assert train(student(data, teacher, steps=steps), str(parts)) == 0
    state = state_of(parts, steps)
    same = [
      np.array_equal(a, b)
      for a, b in zip(jax.tree.leaves(state.teacher), jax.tree.leaves(taught), strict=True)
    ]
    assert all(same) if steps == 10 else not any(same)
  rows = [[(r["step"], r["loss"]) for r in read_rows(w) if "loss" in r] for w in (whole, parts)]
  assert rows[0] == rows[1] and len(rows[0]) == 3
  for a, b in zip(*(jax.tree.leaves(state_of(w)) for w in (whole, parts)), strict=True):
    np.testing.assert_array_equal(a, b)


def unlikely(run, steps, seed=0):
  """Nats a letter of samples under the chain that they should come from."""
  model = load(str(run))
  samples = draw(DrawSettings(num=512, steps=steps, seed=seed, batch_size=512), model)
  texts = [model.tokenizer.decode(row) for row in samples.tokens]
  letters = np.array([[ord(c) - ord("a") for c in text] for text in texts])
  letters[letters < 0] = 26  # a space
  p = np.pad(CHAIN.transitions, (0, 22))[letters[:, :-1], letters[:, 1:]]  # other symbols: never
  return -np.log(np.maximum(p, 1e-4)).mean()


@pytest.mark.slow
def test_a_student_writes_better_in_one_step(data, teacher, tmp_path):
  slow = {"optimizer.learning_rate": 1e-3, "optimizer.matrix_learning_rate": 1e-3}
  fields = slow | {"distillation.steps_per_round": 100, "training.ema_decay": 0.98}
  assert train(student(data, teacher, steps=400, **fields), str(tmp_path / "run")) == 0
  before, after, many = (
    unlikely(run, steps) for run, steps in ((teacher, 1), (tmp_path / "run", 1), (teacher, 64))
  )
  assert many < before
  assert after < before - 0.15 * (before - many)


def test_mistakes_are_named(data, teacher, tmp_path):
  wider = student(data, teacher, **{"network.depth": 3})
  with pytest.raises(UserError, match=r"network of distillation\.teacher .* has depth 2, this one"):
    train(wider, str(tmp_path / "run"))
  with pytest.raises(UserError, match="there is no run in nowhere"):
    train(student(data, "nowhere"), str(tmp_path / "other"))
  with pytest.raises(UserError, match=r"not defined for the process Autoregressive.*duo, uniform"):
    distillation.check(DistillationConfig("x"), autoregressive.make(vocab_size=3))
  with pytest.raises(UserError, match="gammas is of duo, and the process is Absorbing"):
    distillation.check(DistillationConfig("x", gammas=(-4, -1)), absorbing.make(vocab_size=3))
