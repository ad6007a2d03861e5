"""The substitution parameterization (SUBS; MDLM, Sahoo et al. 2024, section 3.2.3)."""

import jax
import jax.numpy as jnp
from jax import Array


def substituted(logits: Array, z: Array, mask_id: int) -> Array:
  """log p(x | z) `[B, L, V]` with the softmax at masked positions; a token is certain of itself."""
  return certain_elsewhere(jax.nn.log_softmax(logits.astype(jnp.float32)), z, mask_id)


def certain_elsewhere(log_probs: Array, z: Array, mask_id: int) -> Array:
  """`log_probs` `[B, L, *]` at masked positions; at others the token there is certain."""
  certain = jnp.where(jax.nn.one_hot(z, log_probs.shape[-1], dtype=bool), 0.0, -jnp.inf)
  return jnp.where((z == mask_id)[..., None], log_probs, certain)
