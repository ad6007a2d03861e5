"""Where training starts from: the first of some rules that applies."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.finite import is_finite
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.types import Params
from dlm_jax.distributed import cluster
from dlm_jax.experiment import Experiment
from dlm_jax.interop import weights
from dlm_jax.interop.opening import load
from dlm_jax.networks.base import Network
from dlm_jax.networks.stacked_network import FIELDS_OF_RUNS
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.runs.workdir import plain
from dlm_jax.training.state import TrainState

Rule = Callable[[Experiment, Checkpointer], TrainState | None]


def first_state(experiment: Experiment, checkpointer: Checkpointer) -> TrainState:
  """The state to train from, by the first rule that applies.

  1. The workdir holds a checkpoint: the run resumes from the newest one.
  2. `distillation.teacher` names a run: a student starts with its averaged weights.
  3. `training.weights` names a run, whose averaged weights this one starts with, or a checkpoint in
     the Hugging Face layout.
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
  """Step 0 with the weights of another run, or of a checkpoint."""
  path = experiment.training.weights
  return _with_weights(experiment, path, "training.weights") if path else None


def from_seed(experiment: Experiment, _: Checkpointer) -> TrainState:
  """Step 0 with random parameters."""
  layout = _layout(experiment)
  with jax.set_mesh(experiment.mesh):
    return cluster.compile_together(jax.jit(experiment.init_state, out_shardings=layout))()


RULES: tuple[Rule, ...] = (resumed, from_teacher, from_weights, from_seed)


def averaged_weights(experiment: Experiment, path: str, field: str) -> Params:
  """The averaged parameters of the run in `path`, or those of a checkpoint, float32.

  Args:
    experiment: that starts from them.
    path: of the run or the checkpoint, which the config's `field` names.
    field: of the config.

  Raises:
    UserError: there is neither, or its network is another.
  """
  model = load(path, mesh=experiment.mesh, dtype=jnp.dtype(jnp.float32))
  require_same_network(model.network, experiment.network, field, path)
  _require_same_parameters(model.params, experiment.abstract_state.params, f"{field} {path}")
  return model.params


def require_same_network(theirs: Network, ours: Network, field: str, path: str) -> None:
  """Raises `UserError` unless a run can start from the weights of the model in `path`.

  Args:
    theirs, ours: the network of that model, and of the run that starts.
    field: of the config, which names that model.
    path: of that model.
  """
  if theirs.interface != ours.interface:
    raise UserError(_other_interface(theirs.interface, ours.interface, f"{field} {path}"))
  # A label shift may begin with the run, as when an autoregressive model becomes another; it does
  # not end.
  free = FIELDS_OF_RUNS if theirs.label_shift else FIELDS_OF_RUNS | {"label_shift"}
  changes = {
    name: vars(theirs)[name]
    for name, known in resolve.settable(type(theirs)).items()
    if name not in free and vars(theirs)[name] != vars(ours).get(name, known.default)
  }
  if type(theirs) is not type(ours):
    changes = {"name": resolve.name_of(theirs), **changes}
  if not changes:
    return
  has = ", ".join(f"{name} {value}" for name, value in changes.items())
  flags = " ".join(f"--config.network.{name}={value}" for name, value in changes.items())
  raise UserError(
    f"the network of {field} {path} has {has}, this one not: a run that starts from the weights of "
    f"another has its network, so set {flags}."
  )


def _other_interface(theirs: NetworkInterface, ours: NetworkInterface, name: str) -> str:
  """What is wrong where the processes need networks of two forms."""
  if (theirs.num_embeddings, theirs.columns) != (ours.num_embeddings, ours.columns):
    return (
      f"the network of {name} has {theirs.num_embeddings} embeddings and {theirs.columns} outputs, "
      f"this one {ours.num_embeddings} and {ours.columns}: a run that starts from the weights of "
      "another has its tokenizer (where that has fewer symbols, its number of embeddings as "
      "--config.data.tokenizer.model_vocab_size) and its mask (--config.process.mask_id)."
    )
  differing = [field for field in vars(theirs) if vars(theirs)[field] != vars(ours)[field]]
  has, here = (", ".join(f"{n} {vars(form)[n]}" for n in differing) for form in (theirs, ours))
  return (
    f"the process of {name} needs a network with {has}, and that of this run one with {here}: a "
    "run that starts from the weights of another has such a process (--config.process)."
  )


def _require_same_parameters(theirs: Params, ours: Params, name: str) -> None:
  """Raises `UserError` where networks of equal fields have other parameters beside them.

  Those of labels come with the data, and those that a process learns with the process.
  """
  found, wanted = (
    {path: leaf.shape for path, leaf in weights.flat(params).items()} for params in (theirs, ours)
  )
  differing = sorted(path for path, _ in found.items() ^ wanted.items())
  if differing:
    path = differing[0]
    raise UserError(
      f"the weights of {name} have {path} of shape {found.get(path, 'none')}, and this run needs "
      f"{wanted.get(path, 'none')}: a run that starts from the weights of another has as many "
      "labels (--config.data.corpus) and a process that learns the same (--config.process)."
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
