"""Names that the records of commands share with the reports that read them."""

from collections.abc import Mapping

from dlm_jax.core.types import Json

# What an evaluation gives, `protocol["quantity"]`.
EXACT = "negative log-likelihood"
BOUND = "upper bound on the negative log-likelihood"
# Where padding is noised and not scored: what is left of a bound is none of the text alone.
SHARE = "share of the text in an upper bound on the negative log-likelihood of text and padding"
# How a bound is found, `protocol["bound"]`: that of the process, or its probability flow.
BOUNDS = ("variational", "flow")


def is_exact(protocol: Mapping[str, Json]) -> bool:
  """Whether an evaluation gave the likelihood itself, not a bound."""
  return protocol.get("quantity") == EXACT


def sign(protocol: Mapping[str, Json]) -> str:
  """What stands before a number of an evaluation: nothing, that it is a bound, or nearly one."""
  return {EXACT: "", SHARE: "≈ "}.get(str(protocol.get("quantity")), "≤ ")
