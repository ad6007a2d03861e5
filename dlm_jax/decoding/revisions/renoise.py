"""Random tokens stand where nothing is committed: for models of uniform noise, without a mask."""

from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.decoding.base import Revision


@dataclass(frozen=True, kw_only=True)
class Renoise(Revision):
  """The revision: what is committed stays, and before each evaluation all else is drawn anew from
  the vocabulary, each token as likely as any other. It has no settings."""

  @property
  def has_noise(self) -> bool:
    return True


def make(**fields: object) -> Renoise:
  """Builds the revision. Raises `UserError` for an unknown field."""
  return resolve.build(Renoise, fields)
