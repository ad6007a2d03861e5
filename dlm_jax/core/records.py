"""Names that the records of commands share with the reports that read them."""

from collections.abc import Mapping

from dlm_jax.core.types import Json

# What an evaluation gives, `protocol["quantity"]`.
EXACT = "negative log-likelihood"
BOUND = "upper bound on the negative log-likelihood"
# How a bound is found, `protocol["bound"]`: that of the process, or its probability flow.
BOUNDS = ("variational", "flow")


def is_exact(protocol: Mapping[str, Json]) -> bool:
  """Whether an evaluation gave the likelihood itself, not a bound."""
  return protocol.get("quantity") == EXACT
