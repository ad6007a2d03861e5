"""Diffusion language models in JAX and Flax.

  import dlm_jax

  model = dlm_jax.load("runs/quickstart")
  dlm_jax.sample(model, num=2)
  dlm_jax.score(model, ["the quick brown fox"])

The three functions are those of `dlm_jax.notebook`, imported when they are first used: importing
the package loads no JAX and starts no backend.
"""

import importlib
import sys
import types

__all__ = ["load", "sample", "score"]


class _Package(types.ModuleType):
  """This package. `dlm_jax.sample` is the function, although the command of that name is a module.

  Python sets a module that is imported as an attribute of its package: for these names it is not.
  """

  def __getattr__(self, name: str) -> object:
    if name not in __all__:
      raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.notebook"), name)

  def __setattr__(self, name: str, value: object) -> None:
    if not (name in __all__ and isinstance(value, types.ModuleType)):
      super().__setattr__(name, value)

  def __dir__(self) -> list[str]:
    return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
