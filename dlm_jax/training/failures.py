"""What a run that cannot go on tells its user: what is saved, and how to go on from there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import SystemFault
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.training.optimizer import OptimizerConfig


class NotFinite(UserError):
  """Too many steps in a row were not finite."""


@contextmanager
def advised(workdir: str, checkpointer: Checkpointer, optimizer: OptimizerConfig) -> Iterator[None]:
  """Adds to `NotFinite` and `SystemFault` what is saved and how the run goes on."""
  try:
    yield
  except NotFinite as error:
    raise UserError(f"{error} {_with_smaller_steps(workdir, checkpointer, optimizer)}") from error
  except SystemFault as error:
    saved = _newest(checkpointer)
    what = "nothing is saved" if saved is None else f"step {saved} is saved"
    raise UserError(f"{error} Of this run {what}: start the same command again.") from error


def _with_smaller_steps(
  workdir: str, checkpointer: Checkpointer, optimizer: OptimizerConfig
) -> str:
  rates = {"learning_rate": optimizer.learning_rate}
  if optimizer.name == "muon":
    rates["matrix_learning_rate"] = optimizer.matrix_learning_rate
  smaller = " ".join(f"--config.optimizer.{name}={value / 2:g}" for name, value in rates.items())
  again = f"Start it again with smaller steps, such as {smaller} (half of what it was)"
  saved = _newest(checkpointer)
  if saved is None:
    return f"{again}: nothing is saved, so that it begins again at step 0."
  return (
    f"{again}: it goes on from its checkpoint of step {saved}, and later checkpoints remember the "
    f"change. Or start another run from the weights of that checkpoint, with another --workdir and "
    f"--config.training.weights={workdir}."
  )


def _newest(checkpointer: Checkpointer) -> int | None:
  """The newest checkpoint, after the save in flight."""
  with suppress(UserError):
    checkpointer.wait()
  return checkpointer.latest_step()
