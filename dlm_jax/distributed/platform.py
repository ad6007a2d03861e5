"""The platform that programs are compiled for: the one here, or another one ahead of time."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_TARGET: ContextVar[str | None] = ContextVar("target", default=None)


def platform() -> str:
  """`cpu`, `gpu` or `tpu`: JAX's default backend, unless `compiling_for` names another."""
  return _TARGET.get() or jax.default_backend()


def dispatch_one_step_at_a_time() -> None:
  """Has a CPU take a step when the one before has ended; accelerators go on with theirs.

  A step that is dispatched ahead takes memory of its own, and slows the one that runs. To be called
  before anything is computed.
  """
  jax.config.update("jax_cpu_enable_async_dispatch", False)


@contextmanager
def compiling_for(target: str) -> Iterator[None]:
  """What is traced while this is entered takes the dtypes and kernels of the platform `target`."""
  token = _TARGET.set(target)
  try:
    yield
  finally:
    _TARGET.reset(token)
