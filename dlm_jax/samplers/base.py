"""What every sampler shares: its result, its checks, its keys and the start of the reverse process.

A sampler is a module with a pure function

  sample(key, process, denoise, shape, *, steps, tokens=None, given=None, grid="uniform",
         temperature=1.0, top_p=1.0, cache=False, trajectory=False) -> SampleResult

whose whole loop runs inside one `jax.jit` of the caller, and which may take settings of its own by
keyword. A new module in this package is a new sampler.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.processes.base import Denoise, Process, evaluations, is_continuous, row_keys
from dlm_jax.samplers import filters

PACKAGE = "dlm_jax.samplers"
PROCESSES = "dlm_jax.processes"

# A process that has this can say when the masked fraction is what, so each token is revealed once.
REVEALS_ONCE = "time_of_masked"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SampleResult:
  """What a sampler returns.

  Attributes:
    tokens: int32 `[B, L]`.
    nfe: int32 scalar, how often the network was evaluated on the batch.
    trajectory: int32 `[frames, B, L]`, the state before the first step and after each, or None.
  """

  tokens: Array
  nfe: Array
  trajectory: Array | None


def check(
  *, steps: int, tokens: Array | None, given: Array | None, temperature: float, top_p: float
) -> None:
  """Refuses arguments that no sampler can honour. Raises `UserError`."""
  if steps < 1:
    raise UserError(f"steps must be at least 1, got {steps}.")
  if (tokens is None) != (given is None):
    raise UserError("a prompt or infilling needs both tokens and given, got only one of them.")
  filters.check(temperature, top_p)


def reveals_once(process: Process) -> bool:
  """Whether each token is masked until it is revealed, and then stays, as in absorbing noise."""
  return hasattr(process, REVEALS_ONCE)


def require_reveals_once(process: Process, sampler: str) -> None:
  """Raises `UserError` for a process that does not reveal tokens, naming those that do."""
  require(process, sampler, REVEALS_ONCE, "one that reveals each token once")


def require(process: Process, sampler: str, method: str, need: str) -> None:
  """Raises `UserError` for a process without `method`, naming those that have it."""
  if not hasattr(process, method):
    raise UserError(
      f"the sampler {sampler!r} is not defined for the process {type(process).__name__}: "
      f"it needs {need}: {', '.join(processes_with(method))}."
    )


def processes_with(*methods: str) -> list[str]:
  """The names of the processes that have one of the `methods`."""
  found = []
  for name in resolve.names(PROCESSES):
    module = resolve.module(PROCESSES, name)
    own = [c for c in vars(module).values() if getattr(c, "__module__", None) == module.__name__]
    if any(hasattr(cls, method) for cls in own for method in methods):
      found.append(name)
  return found


def require_continuous(process: Process, sampler: str) -> None:
  """Raises `UserError` for a process whose state is tokens, naming those whose state is not."""
  require(process, sampler, "nearest_tokens", "one with a continuous state")


def own_settings(sampler: str, text: str) -> dict[str, Any]:
  """What `text`, such as `strategy=loop,eta=0.05`, sets of what only this sampler takes.

  Raises:
    UserError: the sampler has no such setting, or the value is of another kind.
  """
  shared = inspect.signature(resolve.module(PACKAGE, "ancestral", "sample").sample).parameters
  found = inspect.signature(resolve.module(PACKAGE, sampler, "sample").sample).parameters
  own = {name: p.default for name, p in found.items() if name not in shared}
  values = {}
  for part in filter(None, text.split(",")):
    name, _, value = part.partition("=")
    if name not in own:
      known = f"Its settings are {', '.join(own)}." if own else "It has none of its own."
      raise UserError(
        f"the sampler {sampler!r} has no setting {name!r}: {nearest(name, own)}{known}"
      )
    try:
      values[name] = type(own[name])(value)
    except ValueError:
      kind = type(own[name]).__name__
      raise UserError(f"the setting {name} of {sampler!r} is a {kind}, got {value!r}.") from None
  return values


def step_keys(key: Array, rows: int, step: Array | int) -> Array:
  """A key a row for one step: what row i draws depends on neither its neighbours nor the batch."""
  return jax.vmap(jax.random.fold_in, (0, None))(row_keys(key, rows), step)


def start(
  key: Array, process: Process, shape: tuple[int, int], tokens: Array | None, given: Array | None
) -> Array:
  """The state at t = 1: the prior, with what is given in its place. The draw of step 0."""
  z = process.prior(step_keys(key, shape[0], 0), shape)
  if is_continuous(process):
    return process.hold(z, tokens, given)
  return z if given is None else jnp.where(given, tokens, z)


def hold(moved: Array, z: Array, given: Array | None) -> Array:
  """`moved`, but at given positions the state `z`, `[B, L]` or `[B, L, W]`."""
  if given is None:
    return moved
  return jnp.where(jnp.expand_dims(given, range(2, z.ndim)), z, moved)


def times(process: Process, t: Array, given: Array | None) -> Array:
  """The times `t` `[B]` as the network is told them: 0 at clean positions of a continuous state."""
  return process.times(t, given) if is_continuous(process) else t


def first_condition(process: Process, z: Array) -> dict[str, Array]:
  """What `denoise` is given beside state and time in the first step: see `next_condition`."""
  return {"self_condition": jnp.zeros_like(z)} if _self_conditioned(process) else {}


def next_condition(process: Process, output: Any, z: Array, t: Array) -> dict[str, Array]:
  """Self-conditioning: the prediction of this step goes into the next (Chen et al. 2022)."""
  return {"self_condition": process.mean(output, z, t)} if _self_conditioned(process) else {}


def _self_conditioned(process: Process) -> bool:
  return evaluations(process) > 1


def visible(process: Process, z: Array) -> Array:
  """The state as tokens int32 `[B, L]`: a continuous one is read at the nearest embeddings."""
  return process.nearest_tokens(z) if is_continuous(process) else z


def finish(
  process: Process,
  denoise: Denoise,
  z: Array,
  condition: dict[str, Array],
  tokens: Array | None,
  given: Array | None,
) -> tuple[Array, int]:
  """The tokens of the state at t = 0, and the network evaluations this takes.

  A continuous state is read by the network, once more: its most likely tokens.
  """
  if not is_continuous(process):
    return z, 0
  t = times(process, jnp.zeros(z.shape[0]), given)
  log_p = process.log_probs(denoise(z, t, **condition), z, t)
  read = jnp.argmax(log_p, axis=-1).astype(jnp.int32)
  return (read if given is None else jnp.where(given, tokens, read)), 1


def unknown(process: Process, z: Array, given: Array | None) -> Array:
  """The positions bool `[B, L]` that later steps may change."""
  if not reveals_once(process):
    return jnp.ones(z.shape, bool) if given is None else ~given
  masked = z == process.mask_id
  return masked if given is None else masked & ~given


def blank_output(denoise: Denoise, z: Array, t: Array) -> Any:
  """Zeros in the form of the network's output: what a loop carries before the first evaluation."""
  output = jax.eval_shape(lambda z, t: denoise(z, t), z, t)
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), output)


def evaluate_if(
  condition: Array, denoise: Denoise, z: Array, t: Array, last_output: Any
) -> tuple[Any, Array]:
  """Runs the network if `condition`, else repeats its last output; and 1 or 0 evaluations."""
  output = jax.lax.cond(condition, lambda: denoise(z, t), lambda: last_output)
  return output, condition.astype(jnp.int32)


def frames(first: Array, rest: Array | None) -> Array | None:
  """The trajectory from the first tokens `[B, L]` and those after each step, if these were kept."""
  return None if rest is None else jnp.concatenate([first[None], rest])
