"""Every process, found by itself, passes the same proofs.

A new process adds its exact denoiser to `ORACLES` and nothing else. What it can be beside its
defaults is in `VARIANTS`.
"""

import dataclasses
import importlib
import itertools
import pkgutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL
from dlm_jax.processes import facets, gidd, score_uniform
from dlm_jax.processes.base import Process
from dlm_jax.processes.block import Block
from dlm_jax.processes.facets import Continuous
from dlm_jax.processes.parts.times import Times
from dlm_jax.processes.wrapper import Wrapper
from dlm_jax.samplers import guidance
from tests import toy

PACKAGE = "dlm_jax.processes"
NOISED_BY_SCORES = score_uniform.make(vocab_size=3).noised
# Times at which the variance of the bound is finite; where random tokens come with the root of t it
# is not.
FIELDS = {
  "gaussian": toy.GAUSSIAN,
  "gidd": {"schedule": {"name": "polynomial", "exponent": 3.0}},
}
GIDD = gidd.make(vocab_size=3, **FIELDS["gidd"])
# Each takes the toy joint, and for a process that runs in blocks also `block_size`.
ORACLES = {
  "absorbing": toy.absorbing_denoiser,
  "autoregressive": toy.autoregressive_denoiser,
  "block": partial(toy.absorbing_denoiser, block_size=4),
  "duo": toy.mixture_denoiser,
  "gaussian": toy.gaussian_denoiser,
  "generalized_absorbing": toy.generalized_denoiser,
  "gidd": partial(
    toy.mixture_denoiser, uniform_fraction=lambda t: GIDD.level(t).p_u, noise=GIDD.noised
  ),
  "hybrid": partial(toy.mixture_denoiser, uniform_fraction=0.1),
  "score_absorbing": toy.score_denoiser,
  "score_uniform": partial(toy.uniform_score_denoiser, noise=NOISED_BY_SCORES),
  "uniform": toy.mixture_denoiser,
}


def refused_by_blocks(process):
  """The reason that is given if the process cannot run in blocks, or None."""
  if isinstance(process, Continuous):
    return "must be a process of tokens"
  return None if process.pattern == FULL else "does not see the whole of a block"


def untrained(name):
  return resolve.module(PACKAGE, name).make(vocab_size=3, **FIELDS.get(name, {}))


IN_BLOCKS = [name for name in ORACLES if refused_by_blocks(untrained(name)) is None]
# By a name of their own: the process, its fields and its exact denoiser.
VARIANTS = {
  "token_blocks": ("block", {"block_size": 1}, partial(toy.absorbing_denoiser, block_size=1)),
  "uniform_in_steps": ("uniform", {"timesteps": 400}, toy.mixture_denoiser),
  "half_hybrid": ("hybrid", {"p_u": 0.5}, partial(toy.mixture_denoiser, uniform_fraction=0.5)),
} | {
  f"blocks_of_{inner}": (
    "block",
    {"inner": {"name": inner, **FIELDS.get(inner, {})}, "block_size": 2},
    partial(ORACLES[inner], block_size=2),
  )
  for inner in IN_BLOCKS
}
RUNNING = {"name": "duo", "curriculum_steps": 5}
VARIANTS["blocks_of_duo"][1]["inner"] = RUNNING
JOINT = toy.joint()
ROWS = 1 << 16


def make(name, **fields):
  """The process in its first step of training, with the first values of what it learns."""
  module, own, _ = VARIANTS.get(name, (name, FIELDS.get(name, {}), None))
  fields = {"vocab_size": JOINT.vocab_size, **own, **fields}
  process = resolve.module(PACKAGE, module).make(**fields).at_step(jnp.int32(0))
  return process.bind(process.init(jax.random.key(0)))


def inner_of(name):
  """The name of the inner process of `block` or of a variant of it."""
  _, fields, _ = VARIANTS.get(name, ("block", {}, None))
  return fields.get("inner", {"name": "absorbing"})["name"]


def oracle(name):
  """The exact denoiser of the toy joint."""
  return VARIANTS[name][2](JOINT) if name in VARIANTS else ORACLES[name](JOINT)


def tokens(process, z):
  """The state as tokens."""
  return np.asarray(process.nearest_tokens(z) if isinstance(process, Continuous) else z)


def hold(process, z, x, given):
  """The state `z` with `x` at given positions."""
  return process.hold(z, x, given) if isinstance(process, Continuous) else jnp.where(given, x, z)


def bound_draws(process, denoise, seed=0):
  """Draws, float64 `[ROWS]`, whose mean is the bound of the toy joint in nats a sequence."""
  x = JOINT.draw(seed, ROWS)
  # Rows and times are drawn apart, so that the rows are independent of their times.
  t, _ = Times(epsilon=0.0).draw(jax.random.key(seed), ROWS, process)
  nats = jax.jit(lambda key: process.nelbo(key, denoise, x, t).sum(-1))(jax.random.key(seed + 1))
  return np.asarray(nats, np.float64) + process.constants() * JOINT.length


def standard_error(draws):
  return draws.std() / np.sqrt(len(draws))


@pytest.fixture(params=[*resolve.names(PACKAGE), *VARIANTS])
def name(request):
  return request.param


def test_every_process_has_an_oracle():
  assert sorted(ORACLES) == resolve.names(PACKAGE)


@pytest.mark.proves("bound", process="{name}")
def test_bound_of_the_exact_denoiser_is_the_entropy(name):
  process = make(name)
  nats = bound_draws(process, oracle(name))
  # Of 3.1 nats. Integrands have a heavy tail at small times: what is known by quadrature is proved
  # to more digits beside each process.
  assert standard_error(nats) < 0.06
  assert abs(nats.mean() - JOINT.entropy) < 4 * standard_error(nats)


def test_bound_of_another_denoiser_is_larger(name):
  process, exact = make(name), oracle(name)
  # The same data, times and noise: the difference is known far better than either bound.
  excess = bound_draws(process, toy.wrong_denoiser(exact)) - bound_draws(process, exact)
  assert excess.mean() > 4 * standard_error(excess)


def test_corrupt_is_the_identity_at_0_and_the_prior_at_1(name):
  process, rows = make(name), 4096
  x = JOINT.draw(0, rows)
  key = jax.random.key(0)
  np.testing.assert_array_equal(tokens(process, process.corrupt(key, x, jnp.zeros(rows))), x)
  end = tokens(process, process.corrupt(key, x, jnp.ones(rows)))
  prior = tokens(process, process.prior(jax.random.key(1), x.shape))
  for symbol in range(process.num_embeddings or process.vocab_size):
    assert abs(float((end == symbol).mean() - (prior == symbol).mean())) < 0.03


def test_predictions_are_normalised(name):
  process = make(name)
  x = JOINT.draw(0, 64)
  z, t = process.corrupt(jax.random.key(0), x, jnp.full(64, 0.5)), jnp.full(64, 0.5)
  columns = process.interface.columns
  output = 5 * jax.random.normal(jax.random.key(1), (*x.shape, columns))
  log_p = process.predict(output, z, t).log_probs
  assert log_p.dtype == jnp.float32 and log_p.shape == (*x.shape, process.vocab_size)
  np.testing.assert_allclose(jnp.exp(log_p).sum(-1), 1.0, atol=1e-5)


def test_what_the_process_reads_beside_a_prediction_follows_from_the_exact_one(name):
  """A filter leaves no estimate: of the exact prediction it must be the one that was there."""
  process, rows = make(name), 4096
  x, t = JOINT.draw(0, rows), jnp.full(rows, 0.6)

  @jax.jit
  def run(key):
    z = process.corrupt(jax.random.key(0), x, t)
    prediction = process.predict(oracle(name)(z, t), z, t)
    filtered = prediction.with_log_probs(prediction.log_probs)
    s = jnp.full(rows, 0.3)
    return [process.reverse(key, each, z, t, s) for each in (prediction, filtered)]

  one, other = run(jax.random.key(1))
  if isinstance(process, Continuous):
    np.testing.assert_allclose(one, other, atol=1e-5)
  else:
    assert float((one != other).mean()) < 1e-3  # rounding


def test_given_positions_are_never_noised_scored_or_changed(name):
  process, denoise = make(name), oracle(name)
  x, rows = JOINT.draw(0, 256), 256
  given = np.random.default_rng(0).random(x.shape) < 0.5
  t = jnp.ones(rows)

  @jax.jit
  def run(key):
    z = process.corrupt(key, x, t, given)
    losses = [scored(key, denoise, x, t, given) for scored in (process.nelbo, process.loss)]
    noise = hold(process, process.prior(key, x.shape), x, given)
    prediction = process.predict(denoise(noise, t), noise, t)
    return z, losses, process.reverse(key, prediction, noise, t, jnp.zeros(rows), given)

  z, losses, out = run(jax.random.key(0))
  np.testing.assert_array_equal(z, hold(process, z, x, given))
  for loss in losses:
    assert not np.asarray(loss)[given].any()
  np.testing.assert_array_equal(out, hold(process, out, x, given))


def test_gradients_are_finite_at_both_ends(name):
  process, exact = make(name), oracle(name)
  x = JOINT.draw(0, 8)

  @jax.jit
  @jax.value_and_grad
  def total(scale, t):
    # The exact denoiser rules symbols out with -inf; a network's logits are finite.
    denoise = lambda z, t, **c: scale * jnp.maximum(exact(z, t, **c), -30.0)  # noqa: E731
    return process.nelbo(jax.random.key(0), denoise, x, jnp.full(8, t)).sum()

  for t in (0.0, 1e-7, 1.0):
    value, slope = total(0.7, t)
    assert np.isfinite(value) and np.isfinite(slope)


def test_noise_of_a_row_depends_on_its_key_alone(name):
  process, x = make(name), JOINT.draw(0, 8)
  keys, t = jax.random.split(jax.random.key(0), 8), jnp.full(8, 0.5)
  whole = process.corrupt(keys, x, t)
  np.testing.assert_array_equal(whole, process.corrupt(jax.random.key(0), x, t))
  np.testing.assert_array_equal(whole[4:6], process.corrupt(keys[4:6], x[4:6], t[4:6]))


def test_a_posterior_is_what_the_reverse_step_draws_from(name):
  process, rows = make(name), 20_000
  if not isinstance(process, facets.HasPosterior):
    return
  x, t, s = JOINT.draw(0, 1), jnp.full(rows, 0.7), jnp.full(rows, 0.4)
  z = process.corrupt(jax.random.key(2), x, t[:1])
  z = jnp.broadcast_to(z, (rows, JOINT.length))
  prediction = process.predict(oracle(name)(z, t), z, t)
  out = process.reverse(jax.random.key(1), prediction, z, t, s)
  probs = jnp.exp(process.log_posterior(prediction, z, t, s))[0]
  for state in range(process.num_embeddings):
    np.testing.assert_allclose((out == state).mean(0), probs[:, state], atol=0.015)


def test_coupled_states_lie_on_one_path(name):
  """With one key what is noise stays the same noise, as time goes on."""
  process, rows = make(name), 512
  if not process.coupled:
    return
  x, key = JOINT.draw(0, rows), jax.random.key(0)
  states = [process.corrupt(key, x, jnp.full(rows, t)) for t in (0.2, 0.5, 0.9)]
  for earlier, later in itertools.pairwise(states):
    assert ((earlier == x) | (later == earlier)).all()
  assert (states[0] != x).any()


def test_an_unknown_field_names_the_nearest(name):
  module, own, _ = VARIANTS.get(name, (name, {}, None))
  misspelt = {"schedul": {"name": "linear"}}
  if module == "block":
    inner = own.get("inner", {"name": "absorbing"})
    misspelt = {"inner": {**inner, **misspelt}}
  with pytest.raises(UserError, match="did you mean 'schedule'"):
    make(name, **misspelt)


def changed_fields(before, after):
  """(dataclass, name) of each field that differs, of nested dataclasses their own."""
  for field in dataclasses.fields(after):
    old, new = getattr(before, field.name), getattr(after, field.name)
    if dataclasses.is_dataclass(new) and type(old) is type(new):
      yield from changed_fields(old, new)
    elif old is not new:
      yield type(after), field


def test_what_training_puts_in_place_is_no_field_of_a_config(name):
  module, own, _ = VARIANTS.get(name, (name, FIELDS.get(name, {}), None))
  before = resolve.module(PACKAGE, module).make(vocab_size=JOINT.vocab_size, **own)
  after = before.at_step(jnp.int32(0)).bind(before.init(jax.random.key(0)))
  if isinstance(after, Block):
    after = after.within(jnp.zeros(2))
  changed = list(changed_fields(before, after))
  for cls, field in changed:
    with pytest.raises(UserError, match=f"has no field '{field.name}'") as error:
      resolve.build(cls, {field.name: 3})
    assert field.name not in str(error.value).partition("Its fields are")[2].split(", ")
  assert bool(changed) == has_runtime_fields(before)


def has_runtime_fields(part):
  """Whether a dataclass, or one that it holds, has a field that training puts in place."""
  if not dataclasses.is_dataclass(part):
    return False
  found = dataclasses.fields(part)
  return any(f.metadata.get("runtime") or has_runtime_fields(getattr(part, f.name)) for f in found)


def refused_by_guidance(process):
  """The reason that is given if no posterior can be guided, or None."""
  if isinstance(process, facets.HasPosterior) and isinstance(process, facets.HasJumpRates):
    return None
  return "classifier-free guidance is not defined"


# Wrappers: how each of them is put around a process, and the reason if it refuses it.
WRAPPERS = {
  Block: (lambda inner: Block(inner=inner, block_size=2), refused_by_blocks),
  guidance.GuidedPrediction: (
    lambda inner: guidance.GuidedPrediction(inner=inner, scale=2.0),
    lambda process: None,
  ),
  guidance.GuidedPosterior: (
    lambda inner: guidance.GuidedPosterior(inner=inner, scale=2.0),
    refused_by_guidance,
  ),
}


@pytest.mark.parametrize("inner", ORACLES)
@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda cls: cls.__name__)
def test_a_wrapper_has_every_facet_of_what_it_wraps_or_refuses_it(wrapper, inner):
  wrap, refusal_of = WRAPPERS[wrapper]
  process = make(inner)
  refusal = refusal_of(process)
  if refusal is not None:
    with pytest.raises(UserError, match=refusal):
      wrap(process)
    return
  wrapped = wrap(process)
  assert isinstance(wrapped, wrapper)
  members = {name for name in vars(Process) if not name.startswith("_")}
  for facet in facets.FACETS:
    assert isinstance(wrapped, facet) == isinstance(process, facet), facet
    members |= set(facets.members(facet)) if isinstance(process, facet) else set()
  overridden = {name for cls in wrapper.__mro__ if issubclass(cls, Wrapper) for name in vars(cls)}
  for member in members - overridden:
    found, expected = getattr(wrapped, member), getattr(process, member)
    assert found is expected or found == expected, member


def test_every_wrapper_is_tried():
  for package in (PACKAGE, "dlm_jax.samplers"):
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
      importlib.import_module(f"{package}.{module.name}")

  def declared(cls):
    """The wrappers below `cls` from which no other derives."""
    below = [sub for sub in cls.__subclasses__() if sub._declared is None]
    return {leaf for sub in below for leaf in declared(sub) or {sub}}

  assert {cls for cls in declared(Wrapper) if cls.__module__.startswith("dlm_jax")} == set(WRAPPERS)
