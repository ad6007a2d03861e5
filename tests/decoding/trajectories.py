"""Fixtures: what the reference code of each family wrote, state by state, with random weights.

A file a run: `prompt_ids`, `states` `[S, B, L]` after each evaluation that wrote, and the settings.
"""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dlm_jax.decoding import decoders
from dlm_jax.decoding.decode import Decoded, decode
from dlm_jax.decoding.masked_model import MaskedModel
from dlm_jax.decoding.steps import Step, Watch
from tests.interop import parity

FIXTURES = Path(__file__).parent / "fixtures"


@functools.cache
def reference(family, run):
  """The arrays of a run and its settings."""
  arrays = dict(np.load(FIXTURES / family / f"decode_{run}.npz"))
  return arrays, json.loads(str(arrays.pop("settings")))


def model(family, mask_id, **fields):
  """The masked model of the weights that the run had."""
  _, network, params = parity.opened(family)
  return MaskedModel(network=network, params=params, mask_id=mask_id, **fields)


def ragged(prompts):
  """Prompts of several lengths as `decode` takes them."""
  lengths = np.array([len(prompt) for prompt in prompts], np.int32)
  tokens = np.zeros((len(prompts), lengths.max()), np.int32)
  for row, prompt in zip(tokens, prompts, strict=True):
    row[: len(prompt)] = prompt
  return jnp.asarray(tokens), jnp.asarray(lengths)


# What programs that are watched have said of their steps.
STEPS = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Decoded):
  """What was written, and the steps in which it was."""

  steps: tuple[Step, ...]


def run(masked, prompts, *, end_id=None, seed=0, keys=None, copies=1, watched=False, **fields):
  """What `masked` answers to prompts, as one program.

  JAX keeps none that is watched from one run of the tests to the next.
  """
  keys = jax.random.split(jax.random.key(seed), len(prompts)) if keys is None else keys
  bare = dataclasses.replace(masked, params=None)
  STEPS.clear()
  run = program(decoders.make(**fields), bare, end_id, watched, copies)
  decoded = jax.device_get(run(masked.params, ragged(prompts), keys))
  jax.effects_barrier()
  assert not decoded.has_nan
  return Run(**vars(decoded), steps=tuple(STEPS))


@functools.cache
def program(made, bare, end_id, watched, copies=1):
  """The jitted `(params, prompts, keys) -> Decoded` of a decoder and a model without parameters."""

  def run(params, prompts, keys):
    masked = dataclasses.replace(bare, params=params)
    watch = Watch(STEPS.append) if watched else None
    return decode(made, masked, prompts, keys, end_id=end_id, copies=copies, watch=watch)

  return jax.jit(run)


def states(run):
  """The states `[S, B, L]` after each evaluation that wrote, of a run that was watched."""
  tokens = np.stack([step.tokens for step in run.steps])
  writes = np.any(tokens[1:] != tokens[:-1], axis=(1, 2))
  return tokens[np.append(np.any(run.steps[0].committed), writes)]


def seen(states, like, mask_id):
  """The states, with -1 where the reference had no canvas yet, which was all masks here."""
  cut = states[..., : like.shape[-1]]
  assert np.all(states[..., like.shape[-1] :] == mask_id)
  if cut.shape != like.shape:
    return cut
  assert np.all(cut[like == -1] == mask_id)
  return np.where(like == -1, -1, cut)
