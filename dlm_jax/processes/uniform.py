"""Uniform diffusion: a token is kept with probability alpha(t), else replaced by any token.

D3PM uniform (Austin et al. 2021), UDLM (Schiff et al. 2024), Duo (Sahoo et al. 2025). A token may
change at any time and more than once, so that a mistake can be undone. Nothing in z says which
tokens are noise: give the network the time (`network.time_conditioned`). It takes the tokens of a
prompt, too, for ones that may be noise, although they are never changed.
"""

from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.processes.parts.mixture import Mixture
from dlm_jax.schedules import alpha_schedules


@dataclass(frozen=True, kw_only=True)
class Uniform(Mixture):
  """The process; its maths is that of `Mixture` without a mask. Build it with `make`."""

  @property
  def uniform_fraction(self) -> float:
    return 1.0


def make(*, vocab_size: int, **fields: object) -> Uniform:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default).

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  return resolve.build(Uniform, {"vocab_size": vocab_size, **fields})
