"""A distribution small enough to enumerate, with exact denoisers: the oracle of the maths.

Everything a process or sampler claims can be held against it: the exact denoiser's bound is the
entropy, and exact sampling reproduces the probabilities.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.processes import gaussian
from dlm_jax.processes.base import Process


def compiled(function: Callable, *args: object) -> object:
  """`function(*args)` as one program: called as it is, each of its operations compiles alone."""

  def with_arrays(*arrays: Array) -> object:
    left = iter(arrays)
    return function(*(next(left) if is_array(value) else value for value in args))

  def is_array(value: object) -> bool:
    return isinstance(value, (Array, np.ndarray))

  return jax.jit(with_arrays)(*filter(is_array, args))


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
  sequences = joint_states(vocab_size, length)
  weights = np.exp(np.random.default_rng(seed).normal(size=len(sequences)))
  return Joint(vocab_size, length, sequences, weights / weights.sum())


LogLikelihood = Callable[[Array, Array], Array]


def exact_denoiser(
  joint: Joint,
  log_likelihood: LogLikelihood,
  *,
  block_size: int | None = None,
  leave_one_out: bool = False,
) -> Callable[..., Array]:
  """log p(x_i | z) `[B, L, V]`, by enumeration, under noise that treats each position by itself.

  Of soft tokens it sees the likeliest.

  Args:
    joint: of the clean tokens.
    log_likelihood: maps z `[B, L]` and t `[B]` or `[B, L]` to log q(z_j | x_j) `[B, V^L, L]` of
      every sequence x.
    block_size: with it the denoiser takes `clean` `[B, L]`, and position i knows the clean tokens
      of the blocks before its own, and of z that block alone. A clean token V says nothing.
    leave_one_out: whether position i of z is left out: log p(x_i | z without z_i).
  """
  block = np.arange(joint.length) // (block_size or joint.length)
  same, earlier = block[:, None] == block, block[:, None] > block
  if leave_one_out:
    same &= ~np.eye(joint.length, dtype=bool)

  def denoise(z: Array, t: Array, clean: Array | None = None) -> Array:
    if isinstance(z, SoftTokens):
      likeliest = jnp.argmax(z.weights, axis=-1, keepdims=True)
      z = jnp.take_along_axis(z.tokens, likeliest, axis=-1)[..., 0]
    tokens = (z if clean is None else clean)[:, None]
    agrees = (tokens == joint.sequences) | (tokens == joint.vocab_size)
    log_clean = jnp.where(agrees, 0.0, -jnp.inf)
    log_noisy = log_likelihood(z, t)
    symbols = jax.nn.one_hot(joint.sequences, joint.vocab_size)
    log_probs = jnp.log(jnp.asarray(joint.probs, jnp.float32))
    outputs = []
    for i in range(joint.length):
      evidence = jnp.where(same[i], log_noisy, 0.0).sum(-1)
      evidence += jnp.where(earlier[i], log_clean, 0.0).sum(-1)
      at_symbol = jnp.where(symbols[:, i] > 0, (log_probs + evidence)[..., None], -jnp.inf)
      outputs.append(jax.nn.logsumexp(at_symbol, axis=1))
    return jax.nn.log_softmax(jnp.stack(outputs, axis=1))

  return denoise


def _per_sequence(t: Array) -> Array:
  """`t` `[B]` or `[B, L]`, to broadcast against `[B, V^L, L]`."""
  return t[:, None, None] if t.ndim == 1 else t[:, None]


def absorbing_denoiser(
  joint: Joint, mask_id: int | None = None, block_size: int | None = None
) -> Callable[..., Array]:
  """The exact denoiser of absorbing noise: log p(x_i | unmasked tokens of z), `[B, L, V]`.

  `mask_id` defaults to V. Time plays no part (Ou et al. 2024, theorem 1).
  """
  mask_id = joint.vocab_size if mask_id is None else mask_id

  def log_likelihood(z: Array, t: Array) -> Array:
    del t
    agrees = (z[:, None] == joint.sequences) | (z[:, None] == mask_id)
    return jnp.where(agrees, 0.0, -jnp.inf)

  return exact_denoiser(joint, log_likelihood, block_size=block_size)


def block_denoiser(joint: Joint, size: int) -> Callable[..., Array]:
  """The exact denoiser of absorbing noise in blocks of `size`."""
  return absorbing_denoiser(joint, block_size=size)


def generalized_denoiser(
  joint: Joint, exponents: np.ndarray | float = 1.0, block_size: int | None = None
) -> Callable[..., Array]:
  """The exact denoiser where token v is masked with probability t^{w_v}: log p(x_i | z)."""
  w = np.broadcast_to(exponents, joint.vocab_size)

  def log_likelihood(z: Array, t: Array) -> Array:
    # Tokens that are seen have one factor, 1 - t^w, in all sequences that agree with them.
    log_masked = w[joint.sequences] * jnp.log(jnp.maximum(_per_sequence(t), 1e-30))
    agrees = jnp.where(z[:, None] == joint.sequences, 0.0, -jnp.inf)
    return jnp.where(z[:, None] == joint.vocab_size, log_masked, agrees)

  return exact_denoiser(joint, log_likelihood, block_size=block_size)


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
    return gaussian_output(process, log_p, z, t)

  return denoise


def gaussian_output(process: gaussian.Gaussian, log_p: Array, z: Array, t: Array) -> Array:
  """The output of the network that says `log_p` `[B, L, V]`."""
  if process.parameterization == "categorical":
    return log_p
  x = jnp.exp(log_p) @ process.embeddings
  return output_of(process.parameterization, x, z, *process.signal_and_noise(t))


def output_of(name: str, x: Array, z: Array, alpha: Array, sigma: Array) -> Array:
  """The output that stands for the clean embedding `x`, the inverse of `parameterizations.to_x`."""
  if name == "epsilon":
    return (z - alpha * x) / sigma
  if name == "v":
    return (alpha * z - x) / sigma
  return x


def mixture_denoiser(
  joint: Joint,
  uniform_fraction: float | Callable[[Array], Array] = 1.0,
  noise: Callable[[Array], Array] = lambda t: t,
  given: np.ndarray | None = None,
  block_size: int | None = None,
) -> Callable[..., Array]:
  """The exact denoiser of noise that is uniform with some probability, or one that depends on the
  time, and the mask V otherwise: log p(x_i | z without position i), `[B, L, V]`.

  Not p(x_i | z): q(z_s | z_t, x) is linear-fractional in x, and its mean over p(x_i | z) is had by
  putting the leave-one-out posterior in the place of x. Positions `given` bool `[L]` are known not
  to be noise.
  """
  certain = np.zeros(joint.length, bool) if given is None else given

  def log_likelihood(z: Array, t: Array) -> Array:
    time = _per_sequence(t)
    share = uniform_fraction(time) if callable(uniform_fraction) else uniform_fraction
    return jnp.log(_likelihood(joint, z, jnp.where(certain, 0.0, noise(time)), share))

  return exact_denoiser(joint, log_likelihood, block_size=block_size, leave_one_out=True)


def full_posterior(
  joint: Joint, uniform_fraction: float, noise: Callable[[Array], Array] = lambda t: t
) -> Callable[[Array, Array], Array]:
  """log p(x_i | z), the posterior that looks at position i too."""

  def denoise(z: Array, t: Array) -> Array:
    likelihood = _likelihood(joint, z, noise(t)[:, None, None], uniform_fraction)
    symbols = jax.nn.one_hot(joint.sequences, joint.vocab_size)
    weights = likelihood.prod(-1) * jnp.asarray(joint.probs, jnp.float32)
    p = jnp.einsum("bn,nlv->blv", weights, symbols)
    return jnp.log(p / p.sum(-1, keepdims=True))

  return denoise


def score_denoiser(joint: Joint, block_size: int | None = None) -> Callable[..., Array]:
  """The exact output of score entropy under absorbing noise: log p(x_i | unmasked) + log V."""
  exact = absorbing_denoiser(joint, block_size=block_size)
  return lambda z, t, clean=None: exact(z, t, clean) + np.log(joint.vocab_size)


def uniform_score_denoiser(
  joint: Joint,
  noise: Callable[[Array], Array],
  given: np.ndarray | None = None,
  block_size: int | None = None,
) -> Callable[..., Array]:
  """The exact log-scores under uniform noise: log q(y at i, rest of z) - log q(z), `[B, L, V]`."""
  exact = mixture_denoiser(joint, 1.0, noise, given, block_size)

  def denoise(z: Array, t: Array, clean: Array | None = None) -> Array:
    noised = noise(t.reshape(len(z), -1))[..., None]
    p = jnp.exp(exact(z, t, clean))
    log_q = jnp.log((1.0 - noised) * p + noised / joint.vocab_size)
    return log_q - jnp.take_along_axis(log_q, z[..., None], axis=-1)

  return denoise


def _likelihood(joint: Joint, z: Array, noise: Array, uniform_fraction: float | Array) -> Array:
  """q(z_i | x_i) at each position of each sequence x, `[B, V^L, L]`."""
  kept = z[:, None] == joint.sequences
  masked = z[:, None] == joint.vocab_size
  prior = jnp.where(masked, 1.0 - uniform_fraction, uniform_fraction / joint.vocab_size)
  return (1.0 - noise) * kept + noise * prior


def wrong_denoiser(denoise: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
  """Half as sure as `denoise`: a denoiser that is not exact, so its bound must be larger."""
  return lambda z, t, **conditioning: 0.5 * denoise(z, t, **conditioning)


def noised_as(process: Process, z: Array) -> Process:
  """The process with `z` `[B, L]` in place of what `corrupt` would draw."""
  cls = type("Noised", (type(process),), {"corrupt": lambda self, key, x, t, given=None: z})
  return cls(**{f.name: getattr(process, f.name) for f in dataclasses.fields(process)})


def quadrature_bound(
  joint: Joint,
  process: Process,
  denoise: Callable[[Array, Array], Array],
  q: Callable[[Array], Array],
  nodes: int = 48,
) -> float:
  """The bound in nats a sequence, by enumeration of x and z and by quadrature over t.

  `q(t)` is the matrix of q(z_t | x) of one position, `[V, states]`. Gauss-Legendre in the cube root
  of t, since integrands have a logarithm or a root of t at 0.
  """
  points, widths = np.polynomial.legendre.leggauss(nodes)
  u, widths = (points + 1) / 2, widths / 2
  states = joint_states(process.num_embeddings, joint.length)
  pairs = np.meshgrid(np.arange(len(joint.sequences)), np.arange(len(states)), indexing="ij")
  x, z = joint.sequences[pairs[0].ravel()], states[pairs[1].ravel()]

  @jax.jit
  def integrand(t: Array) -> Array:
    fixed = noised_as(process, jnp.asarray(z))
    return fixed.nelbo(jax.random.key(0), denoise, jnp.asarray(x), jnp.full(len(x), t)).sum(-1)

  total = 0.0
  for t, weight in zip(u**3, 3 * u**2 * widths, strict=True):
    noise = np.asarray(q(jnp.float32(t)), np.float64)[x, z].prod(-1)
    possible = noise > 0
    nats = np.asarray(integrand(jnp.float32(t)), np.float64)
    total += weight * np.sum((joint.probs[pairs[0].ravel()] * noise * nats)[possible])
  return float(total) + process.constants() * joint.length


def joint_states(states: int, length: int) -> np.ndarray:
  """All sequences of so many states, int32 `[states^L, L]`."""
  axes = np.meshgrid(*[np.arange(states)] * length, indexing="ij")
  return np.stack([axis.ravel() for axis in axes], axis=-1).astype(np.int32)


def autoregressive_denoiser(joint: Joint) -> Callable[[Array, Array], Array]:
  """The exact prediction from the left: log p(x_i | z_<i), `[B, L, V]`. The mask V is unknown."""

  def denoise(z: Array, t: Array) -> Array:
    del t
    agrees = (z[:, None] == joint.sequences) | (z[:, None] == joint.vocab_size)
    before = jnp.cumprod(jnp.pad(agrees, ((0, 0), (0, 0), (1, 0)), constant_values=True), axis=-1)
    return _log_marginals(joint, before[..., :-1])

  return denoise


def _log_marginals(joint: Joint, agrees: Array) -> Array:
  """log of the share of each symbol at i, `[B, L, V]`, in the sequences that `agrees` [B, n, L]."""
  symbols = jax.nn.one_hot(joint.sequences, joint.vocab_size)
  weights = agrees * jnp.asarray(joint.probs, jnp.float32)[:, None]
  return jnp.log(jnp.einsum("bnl,nlv->blv", weights, symbols))
