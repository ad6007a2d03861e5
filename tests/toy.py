"""A distribution small enough to enumerate, with exact denoisers: the oracle of the maths.

Everything a process or sampler claims can be held against it: the exact denoiser's bound is the
entropy, and exact sampling reproduces the probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dlm_jax.processes import gaussian

Array = jax.Array


@dataclass(frozen=True)
class Joint:
  """A joint distribution of `length` tokens over `vocab_size` symbols.

  Attributes:
    sequences: all V^L sequences, int32 `[V^L, L]`, the last position running fastest.
    probs: their probabilities, float64 `[V^L]`.
  """

  vocab_size: int
  length: int
  sequences: np.ndarray
  probs: np.ndarray

  @property
  def entropy(self) -> float:
    """Nats a sequence."""
    return float(-np.sum(self.probs * np.log(self.probs)))

  def index(self, tokens: np.ndarray) -> np.ndarray:
    """The row of `sequences` that each row of `tokens` `[B, L]` is."""
    return np.ravel_multi_index(np.asarray(tokens).T, (self.vocab_size,) * self.length)

  def draw(self, seed: int, rows: int) -> np.ndarray:
    """Independent sequences, int32 `[rows, L]`."""
    chosen = np.random.default_rng(seed).choice(len(self.probs), rows, p=self.probs)
    return self.sequences[chosen]

  def conditional(self, tokens: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Probabilities `[V^L]` given that the positions `given` `[L]` are those of `tokens` `[L]`."""
    agrees = np.all((self.sequences == tokens) | ~np.asarray(given), axis=-1)
    return self.probs * agrees / np.sum(self.probs * agrees)

  def p_value(self, tokens: np.ndarray, probs: np.ndarray | None = None) -> float:
    """Chi-square p-value of `tokens` `[B, L]` being draws from `probs` (default: the joint).

    0 if a sequence of probability 0 was drawn.
    """
    probs = self.probs if probs is None else probs
    counts = np.bincount(self.index(tokens), minlength=len(self.probs))
    possible = probs > 0
    if counts[~possible].any():
      return 0.0
    expected = probs[possible] * counts.sum()
    return float(stats.chisquare(counts[possible], expected).pvalue)


def joint(seed: int = 0, vocab_size: int = 3, length: int = 3) -> Joint:
  """A random joint whose probabilities are log-normal: no sequence is impossible or negligible."""
  axes = np.meshgrid(*[np.arange(vocab_size)] * length, indexing="ij")
  sequences = np.stack([axis.ravel() for axis in axes], axis=-1).astype(np.int32)
  weights = np.exp(np.random.default_rng(seed).normal(size=len(sequences)))
  return Joint(vocab_size, length, sequences, weights / weights.sum())


def absorbing_denoiser(joint: Joint, mask_id: int | None = None) -> Callable[[Array, Array], Array]:
  """The exact denoiser of absorbing noise: log p(x_i | unmasked tokens of z), `[B, L, V]`.

  `mask_id` defaults to V. Time plays no part (Ou et al. 2024, theorem 1).
  """
  mask_id = joint.vocab_size if mask_id is None else mask_id

  def denoise(z: Array, t: Array) -> Array:
    del t
    agrees = jnp.all((z[:, None] == joint.sequences) | (z[:, None] == mask_id), axis=-1)
    symbols = jax.nn.one_hot(joint.sequences, joint.vocab_size)
    weights = agrees * jnp.asarray(joint.probs, jnp.float32)
    return jnp.log(jnp.einsum("bn,nlv->blv", weights, symbols))

  return denoise


# Times where the toy joint is decided: its bound has a third of the noise that equal steps leave.
GAUSSIAN = {"schedule": {"name": "logit_normal", "mean": -0.5}}


def gaussian_process(vocab_size: int = 3, **fields) -> gaussian.Gaussian:
  """The process with its first embeddings and schedule in place."""
  process = gaussian.make(vocab_size=vocab_size, **GAUSSIAN | fields)
  return process.bind(process.init(jax.random.key(0)))


def gaussian_denoiser(
  joint: Joint, process: gaussian.Gaussian | None = None
) -> Callable[[Array, Array], Array]:
  """The exact denoiser of Gaussian noise: log p(x_i | z), `[B, L, V]`, or the output that says it.

  A position at t = 0 counts as known: its token is the one nearest to it.
  """
  process = process or gaussian_process(joint.vocab_size)

  def denoise(z: Array, t: Array) -> Array:
    alpha, sigma = process.signal_and_noise(jnp.broadcast_to(t.reshape(len(z), -1), z.shape[:2]))
    # All embeddings have one size, which cancels.
    evidence = alpha / sigma**2 * (z @ process.embeddings.T)
    symbols = jax.nn.one_hot(joint.sequences, joint.vocab_size)
    log_joint = jnp.log(joint.probs) + jnp.einsum("blv,nlv->bn", evidence, symbols)
    at_symbol = jnp.where(symbols > 0, log_joint[:, :, None, None], -jnp.inf)
    log_p = jax.nn.log_softmax(jax.nn.logsumexp(at_symbol, axis=1))
    return process.output_of(log_p, z, t)

  return denoise


def wrong_denoiser(denoise: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
  """Half as sure as `denoise`: a denoiser that is not exact, so its bound must be larger."""
  return lambda z, t: 0.5 * denoise(z, t)
