"""Where training starts from: the first of some rules that applies."""

import dataclasses
from collections.abc import Callable

import jax

from dlm_jax.core.errors import UserError
from dlm_jax.core.finite import is_finite
from dlm_jax.core.types import Params
from dlm_jax.distributed import cluster
from dlm_jax.experiment import Experiment
from dlm_jax.interop.opening import load
from dlm_jax.networks.base import Network
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.runs.workdir import plain
from dlm_jax.training.state import TrainState

Rule = Callable[[Experiment, Checkpointer], TrainState | None]


def first_state(experiment: Experiment, checkpointer: Checkpointer) -> TrainState:
  """The state to train from, by the first rule that applies.

  1. The workdir holds a checkpoint: the run resumes from the newest one.
  2. `distillation.teacher` names a run: a student starts with its averaged weights.
  3. `training.weights` names a run: this run starts with its averaged weights.
  4. Otherwise the parameters are drawn from the seed.

  Raises:
    UserError: no checkpoint can be restored, or the run that is named has another network.
  """
  for rule in RULES:
    state = rule(experiment, checkpointer)
    if state is not None:
      return state
  raise AssertionError("the last rule always applies")


def resumed(experiment: Experiment, checkpointer: Checkpointer) -> TrainState | None:
  """The newest checkpoint."""
  if checkpointer.latest_step() is None:
    return None
  config = plain(experiment.config)
  state, metadata = checkpointer.restore(experiment.abstract_state, config)
  # No step leaves such a state, but other code may have saved one, and no step leads out of it.
  if not is_finite(state):
    raise UserError(
      f"the checkpoint of step {metadata['step']} holds values that are not finite: move its "
      "directory out of checkpoints/ to resume from the one before it, or start again in another "
      "--workdir."
    )
  cluster.say(f"resuming from step {metadata['step']}")
  return state


def from_teacher(experiment: Experiment, _: Checkpointer) -> TrainState | None:
  """The state of a student at step 0."""
  path = experiment.distillation.teacher
  return _with_weights(experiment, path, "distillation.teacher") if path else None


def from_weights(experiment: Experiment, _: Checkpointer) -> TrainState | None:
  """Step 0 with the weights of another run."""
  path = experiment.training.weights
  return _with_weights(experiment, path, "training.weights") if path else None


def from_seed(experiment: Experiment, _: Checkpointer) -> TrainState:
  """Step 0 with random parameters."""
  layout = _layout(experiment)
  with jax.set_mesh(experiment.mesh):
    return cluster.compile_together(jax.jit(experiment.init_state, out_shardings=layout))()


RULES: tuple[Rule, ...] = (resumed, from_teacher, from_weights, from_seed)


def averaged_weights(experiment: Experiment, path: str, field: str) -> Params:
  """The averaged parameters of the run in `path`, which the config's `field` names.

  Raises:
    UserError: there is no such run, or its network is another.
  """
  model = load(path)
  require_same_network(model.network, experiment.network, field, path)
  return model.params


def require_same_network(theirs: Network, ours: Network, field: str, path: str) -> None:
  """Raises `UserError` unless a run can start from the weights of the run in `path`.

  Args:
    theirs, ours: the network of that run, and of the one that starts.
    field: of the config, which names that run.
    path: of that run.
  """
  if type(theirs) is not type(ours):
    pair = (type(theirs).__name__, type(ours).__name__)
    raise UserError(f"the network of {field} {path} is {pair[0]}, this one {pair[1]}.")
  for name in (f.name for f in dataclasses.fields(ours)):
    if getattr(theirs, name) != getattr(ours, name):
      raise UserError(
        f"the network of {field} {path} has {name} {getattr(theirs, name)}, this one "
        f"{getattr(ours, name)}: a run that starts from the weights of another has its network."
      )


def _with_weights(experiment: Experiment, path: str, field: str) -> TrainState:
  layout = _layout(experiment)
  with jax.set_mesh(experiment.mesh):
    params = jax.device_put(averaged_weights(experiment, path, field), layout.params)
    first = jax.jit(experiment.state_of, out_shardings=layout)
    return cluster.compile_together(first, params)(params)


def _layout(experiment: Experiment) -> TrainState:
  """The sharding of each leaf of the train state."""
  return jax.tree.map(lambda leaf: leaf.sharding, experiment.abstract_state)
