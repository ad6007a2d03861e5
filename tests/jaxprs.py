"""What a traced function would hold: nothing is compiled or run."""

import jax
from jax.extend import core


def largest_array(function, *arguments) -> int:
  """Numbers in the largest array that `function(*arguments)` makes on its way."""
  return max(_sizes(jax.make_jaxpr(function)(*arguments).jaxpr))


def _sizes(jaxpr):
  for equation in jaxpr.eqns:
    yield from (v.aval.size for v in equation.outvars if hasattr(v.aval, "size"))
    for inner in core.jaxprs_in_params(equation.params):
      yield from _sizes(inner)
