"""The substitution parameterization (SUBS; MDLM, Sahoo et al. 2024, section 3.2.3)."""

import jax
import jax.numpy as jnp
from jax import Array


def substituted(logits: Array, z: Array, mask_id: int) -> Array:
  """log p(x | z) `[B, L, V]` with the softmax at masked positions; a token is certain of itself."""
  certain = jnp.where(jax.nn.one_hot(z, logits.shape[-1], dtype=bool), 0.0, -jnp.inf)
  predicted = jax.nn.log_softmax(logits.astype(jnp.float32))
  return jnp.where((z == mask_id)[..., None], predicted, certain)
