"""What the output of a continuous denoiser means, and the clean embedding that follows from it.

All are linear in (z, x, noise) for z = alpha x + sigma noise with alpha^2 + sigma^2 = 1:

  x        the clean embedding
  epsilon  the noise, (z - alpha x) / sigma (Ho et al. 2020)
  v        alpha noise - sigma x (Salimans and Ho 2022, appendix D)

The fourth, `categorical`, is logits over the vocabulary; its x is the mean embedding (CDCD, Plaid).
"""

from jax import Array

from dlm_jax.core.errors import require_known

LINEAR = ("x", "epsilon", "v")
NAMES = ("categorical", *LINEAR)


def check(name: str) -> None:
  """Raises `UserError` for an unknown parameterization."""
  require_known("parameterization", name, NAMES)


def to_x(name: str, output: Array, z: Array, alpha: Array, sigma: Array) -> Array:
  """The clean embedding that `output` stands for; arrays broadcast against `[B, L, W]`."""
  if name == "epsilon":
    return (z - sigma * output) / alpha
  if name == "v":
    return alpha * z - sigma * output
  return output
