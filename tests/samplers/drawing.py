"""What all tests of samplers share: a request from keyword arguments, and one jitted draw of it."""

import dataclasses

import jax
import jax.numpy as jnp

from dlm_jax.core import resolve
from dlm_jax.processes.draws import row_keys
from dlm_jax.samplers import base, loops
from dlm_jax.samplers.filters import Filters

FILTERS = {field.name for field in dataclasses.fields(Filters)}


def make(name, **settings):
  """The sampler `name`."""
  return resolve.make(base.PACKAGE, {"name": name, **settings})


def request(keys, length, *, steps, **fields):
  """A request, in which filters are given by name."""
  filters = Filters(**{name: fields.pop(name) for name in FILTERS & set(fields)})
  return base.Request(keys=keys, length=length, steps=steps, filters=filters, **fields)


def draw(sampler, process, denoise, shape, *, key=0, **fields):
  """The result of a request for `shape`; `key` is a seed, or the keys of the rows."""
  keys = row_keys(jax.random.key(key), shape[0]) if isinstance(key, int) else key
  run = lambda keys: loops.sample(sampler, process, denoise, request(keys, shape[1], **fields))  # noqa: E731
  result = jax.device_get(jax.jit(run)(keys))
  assert not result.has_nan
  return result


def padded(denoise, length):
  """`denoise` of `length` positions, where whole blocks go beyond: what is there is never seen."""
  return lambda z, t: jnp.pad(denoise(z[:, :length], t), ((0, 0), (0, z.shape[1] - length), (0, 0)))
