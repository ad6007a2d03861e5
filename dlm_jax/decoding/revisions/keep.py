"""What is committed stays (LLaDA, Dream, SDAR)."""

from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.decoding.base import Revision


@dataclass(frozen=True, kw_only=True)
class Keep(Revision):
  """The revision. It has no settings."""


def make(**fields: object) -> Keep:
  """Builds the revision. Raises `UserError` for an unknown field."""
  return resolve.build(Keep, fields)
