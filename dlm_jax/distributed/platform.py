"""The platform that programs are compiled for: the one here, or another one ahead of time."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_TARGET: ContextVar[str | None] = ContextVar("target", default=None)


def platform() -> str:
  """`cpu`, `gpu` or `tpu`: JAX's default backend, unless `compiling_for` names another."""
  return _TARGET.get() or jax.default_backend()


@contextmanager
def compiling_for(target: str) -> Iterator[None]:
  """What is traced while this is entered takes the dtypes and kernels of the platform `target`."""
  token = _TARGET.set(target)
  try:
    yield
  finally:
    _TARGET.reset(token)
