"""The exact law of what a decoder writes, where the model's own distribution can be enumerated.

The model is exact: it knows p(x_i | what is written) of a joint distribution of few tokens. A
decoder draws a candidate for every masked position and commits some together. Its law follows by
pushing the mass of every state through every outcome of a step, so that no sample is drawn. Under
the revision `renoise` an outcome is also what random tokens the model is given, of which it knows
how many there are, but not where.
"""

import itertools
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.decoding.base import Candidates, Rule, WindowProgress
from dlm_jax.samplers import scores


@dataclass(frozen=True)
class EnumerableModel:
  """A joint distribution of `length` tokens of `vocab_size` symbols, and its exact conditionals.

  Attributes:
    name: of the distribution.
    probs: of all V^L rows, the last position running fastest, float64.
    vocab_size, length: V and L.
  """

  name: str
  probs: np.ndarray
  vocab_size: int
  length: int

  @property
  def states(self) -> np.ndarray:
    """All (V + 1)^L rows in which V is the mask, int32."""
    symbols = range(self.vocab_size + 1)
    return np.array(list(itertools.product(symbols, repeat=self.length)), np.int32)

  @property
  def outcomes(self) -> np.ndarray:
    """All V^L rows of candidates, int32."""
    symbols = range(self.vocab_size)
    return np.array(list(itertools.product(symbols, repeat=self.length)), np.int32)

  def conditionals(self) -> np.ndarray:
    """p(x_i | what is written) of every state, float64 `[(V + 1)^L, L, V]`; of what is impossible
    the distribution without any condition."""
    rows, states = self.outcomes, self.states
    agrees = np.all((states[:, None] == rows) | (states[:, None] == self.vocab_size), axis=-1)
    mass = agrees * self.probs
    mass = np.where(mass.sum(axis=1, keepdims=True) > 0, mass, self.probs)
    symbols = rows[:, :, None] == np.arange(self.vocab_size)
    found = np.einsum("sr,rlv->slv", mass, symbols)
    return found / found.sum(axis=-1, keepdims=True)

  def denoised(self, inputs: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """p(x_i | all other positions of `inputs` `[N, L]`), float64 `[N, L, V]`: what the exact
    network of uniform noise says, where it left each token with the probability `kept` `[N]`."""
    rows, kept = self.outcomes, kept[:, None, None]
    chance = kept * (inputs[:, None] == rows) + (1.0 - kept) / self.vocab_size
    others = ~np.eye(self.length, dtype=bool)
    apart = np.stack([np.prod(chance, axis=-1, where=where) for where in others], axis=-1)
    symbols = rows[:, :, None] == np.arange(self.vocab_size)
    found = np.einsum("nrl,rlv->nlv", apart * self.probs[:, None], symbols)
    return found / found.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Law:
  """What a decoder writes.

  Attributes:
    probs: of all V^L rows, float64.
    evaluations: of the network, on average.
  """

  probs: np.ndarray
  evaluations: float

  def total_variation(self, model: EnumerableModel) -> float:
    """Half the sum of |p - q|: the share of rows that are written and should not be."""
    return float(np.abs(self.probs - model.probs).sum() / 2)

  def divergence(self, model: EnumerableModel) -> float:
    """KL(what is written || the model) in nats; infinite where an impossible row is written."""
    where = self.probs > 0
    with np.errstate(divide="ignore"):
      ratio = np.log(self.probs[where]) - np.log(model.probs[where])
    return float(np.sum(self.probs[where] * ratio))


def law(model: EnumerableModel, rule: Rule, score: str, has_noise: bool = False) -> Law:
  """The law of the decoder that draws at temperature 1, from a row of masks.

  Args:
    model: whose distribution it should write.
    rule: what is committed; one without a memory.
    score: of `samplers.scores`.
    has_noise: whether the model is given random tokens in place of masks (`renoise`).
  """
  mass = np.zeros(len(model.states))
  mass[-1] = 1.0  # all masks
  masked = np.any(model.states == model.vocab_size, axis=1)
  outcome = _Outcomes.of(model, masked, has_noise)
  ranked = orders(model.length) if score == "random" else orders(model.length)[:1]
  evaluations, index = 0.0, 0
  while mass[masked].sum() > 1e-12:
    evaluations += mass[masked].sum()
    after = np.where(masked, 0.0, mass)
    for order in ranked:
      target = outcome.after(rule, score, order, index)
      moved = mass[masked][outcome.origin] / len(ranked) * outcome.chance
      np.add.at(after, target, moved)
    mass, index = after, index + 1
  return Law(mass[~masked], evaluations)


def orders(length: int) -> np.ndarray:
  """All orders of the positions, float32 `[L!, L]`: what a random score comes to."""
  return np.array(list(itertools.permutations(range(length))), np.float32)


@dataclass(frozen=True)
class _Outcomes:
  """All states that hold a mask, each with all noise that may stand there and all candidates.

  Attributes:
    origin: int `[N]`, the number of the state among them.
    here, token: int32 `[N, L]`, the state and the candidates.
    probs: `[N, L, V]`, what the model says of it.
    chance: `[N]`, the probability of the noise and of the candidates of masked positions.
  """

  origin: np.ndarray
  here: np.ndarray
  token: np.ndarray
  probs: np.ndarray
  chance: np.ndarray

  @classmethod
  def of(cls, model: EnumerableModel, masked: np.ndarray, has_noise: bool) -> "_Outcomes":
    states = model.states[masked]
    missing = states == model.vocab_size
    if has_noise:
      origin, noise = _filled(missing, model.outcomes)
      inputs = np.where(missing[origin], noise, states[origin])
      probs = model.denoised(inputs, 1.0 - missing.mean(axis=1)[origin])
      of_noise = float(model.vocab_size) ** -missing.sum(axis=1)[origin]
    else:
      origin, probs = np.arange(len(states)), model.conditionals()[masked]
      of_noise = np.ones(len(states))
    given, token = _filled(missing[origin], model.outcomes)
    origin, probs = origin[given], probs[given]
    drawn = np.take_along_axis(probs, token[..., None], axis=-1)[..., 0]
    chance = of_noise[given] * np.prod(np.where(missing[origin], drawn, 1.0), axis=1)
    return cls(origin, states[origin], token, probs, chance)

  def after(self, rule: Rule, score: str, order: np.ndarray, index: int) -> np.ndarray:
    """The number of the state that each outcome leads to in the step `index`, `[N]`."""
    new = np.asarray(_commit(rule, score, self.here, self.token, self.probs, order, index))
    return np.ravel_multi_index(new.T, (self.probs.shape[-1] + 1,) * new.shape[1])


def _filled(missing: np.ndarray, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """All rows of symbols at the positions `missing` bool `[S, L]`, and 0 elsewhere, where a symbol
  plays no part: the number of the row of `missing` `[N]`, and the symbols int32 `[N, L]`."""
  fits = np.all(missing[:, None] | (outcomes == 0), axis=-1)
  number, outcome = np.nonzero(fits)
  return number, outcomes[outcome]


@partial(jax.jit, static_argnums=(0, 1))
def _commit(
  rule: Rule,
  score: str,
  here: jax.Array,
  token: jax.Array,
  probs: jax.Array,
  order: jax.Array,
  index: jax.Array,
) -> jax.Array:
  """The states after a step, for rows of states and candidates."""
  mask_id = probs.shape[-1]
  log_probs = jnp.log(probs.astype(jnp.float32))
  is_random = score == "random"
  ranked = jnp.broadcast_to(order, here.shape)
  found = ranked if is_random else scores.score(score, jnp.zeros(0), log_probs, token)
  masked = here == mask_id
  offered = Candidates(
    token=token,
    likeliest=jnp.argmax(log_probs, axis=-1),
    score=found,
    log_probs=log_probs,
    here=here,
    masked=masked,
    written=~masked,
    mask_id=mask_id,
  )
  column = jnp.full((len(here), 1), index)
  length = jnp.full_like(column, here.shape[1])
  progress = WindowProgress(
    step=column,
    masked_at_first=length,
    after=jnp.zeros_like(column),
    memory=None,
    of_revision=None,
  )
  return jnp.where(rule.commit(offered, progress)[0], token, here)
