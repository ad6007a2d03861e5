"""A trained model apart from its experiment: what it takes to sample it, score it or teach with it.

A `Model` is data. What is done with it are functions of other rooms: `generation`, `evaluation`.
"""

from dataclasses import dataclass

import jax
from jax import Array

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.finite import is_finite
from dlm_jax.core.types import Params
from dlm_jax.data import packing, preparation
from dlm_jax.data.positions import TEXT, ScoredPositions
from dlm_jax.data.store import Store
from dlm_jax.data.tokenizers.base import Tokenizer, from_definition
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.model import from_config
from dlm_jax.model.denoiser import Denoiser, with_cache
from dlm_jax.model.head import Head
from dlm_jax.model.parameters import abstract_params
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Process
from dlm_jax.runs import checkpoint, workdir
from dlm_jax.runs.provenance import Provenance

# Which part of the train state holds the weights of each name.
WEIGHTS = {"ema": "ema", "raw": "params"}


@dataclass(frozen=True, kw_only=True)
class Model:
  """A trained model.

  Attributes:
    process: the noise process, as it was trained.
    evaluation_process: the same as it is scored, see `evaluation.process` of a config.
    network: of the form that the process needs.
    params: of the network, and under `process` what the process has learned.
    tokenizer: between text and tokens.
    length: tokens of a row in training.
    packing: how text became rows, a name of `data.packing`.
    positions: which positions of a row were noised and scored in training.
    num_labels: labels of rows are 0..num_labels-1; 0 where the text had none.
    mesh: the devices that hold the parameters.
    provenance: where it comes from.
  """

  process: Process
  evaluation_process: Process
  network: Network
  params: Params
  tokenizer: Tokenizer
  length: int
  packing: str
  positions: ScoredPositions = TEXT
  num_labels: int
  mesh: jax.sharding.Mesh
  provenance: Provenance

  @property
  def begin_id(self) -> int | None:
    """The token before the text of a row that begins with a text; None where there is none.

    A model that was never scored on the first token of a row cannot draw it: where no begin symbol
    stands there, the separator does.
    """
    if packing.find(self.packing).begins:
      return self.tokenizer.bos_id
    return self.tokenizer.separator_id if self.positions.scored == "after_first" else None

  def denoiser(self, params: Params | None = None, labels: Array | None = None) -> Denoiser:
    """The network with its parameters and `labels` bound, without dropout.

    Args:
      params: those of the model if None. A function under `jax.jit` takes them as an argument:
        closed over they would be constants of the program.
      labels: int32 `[B]`; None is no label.
    """
    return with_cache(
      Denoiser(
        self.network,
        self.params if params is None else params,
        Head.of(self.process, self.mesh),
        pattern=self.process.pattern,
        labels=labels,
      )
    )

  def unusable(self, fault: str) -> UserError:
    """The error for weights that give no numbers; `fault` says what they do, as a predicate."""
    return _unusable(fault, self.provenance.workdir, self.provenance.step, self.provenance.weights)

  def check_unlabelled(self, purpose: str) -> None:
    """Raises `UserError`, naming the `purpose`, where the model cannot do without labels."""
    if not self.num_labels:
      raise UserError(f"{purpose} needs a model of labelled text, but this text has no labels.")
    if not self.network.label_dropout:
      raise UserError(
        f"{purpose} needs a model that has learned to do without labels, but network.label_dropout "
        "was 0: train one with 0.1."
      )


def load(path: str, step: int | None = None, weights: str = "ema") -> Model:
  """Reads a trained model from the workdir of its run, onto all devices here.

  Neither the corpus nor the prepared data need be here, and nothing of training is built.

  Args:
    path: the workdir, perhaps remote.
    step: which checkpoint; None is the newest that is whole.
    weights: `ema`, the moving average, or `raw`, those last trained.

  Raises:
    UserError: there is no run or no such checkpoint, the weights are of no such name or not
      finite, or the run is of another version of this project.
  """
  require_known("weights", weights, WEIGHTS)
  config = workdir.read_config(path, step)
  dataset = workdir.read_dataset(path)
  tokenizer = from_definition(dataset["tokenizer"])
  built = from_config.build(config, tokenizer.vocab_size, dataset["num_labels"])
  mesh = make_mesh({"data": -1})
  part = WEIGHTS[weights]
  wanted = {part: abstract_params(built.process, built.network, mesh, dataset["length"])}
  found, metadata = checkpoint.restore(
    workdir.checkpoints(path), wanted, step=step, partial=True, config=workdir.plain(config)
  )
  if metadata["dataset_hash"] != dataset["hash"]:
    raise UserError(
      f"the checkpoint of step {metadata['step']} in {path} was trained on other data (hash "
      f"{metadata['dataset_hash']}) than the run says (hash {dataset['hash']}): bring the workdir "
      "back as it was."
    )
  if not is_finite(found[part]):
    fault = "are not finite, so that no bound of theirs is a number"
    raise _unusable(fault, path, metadata["step"], weights)
  return Model(
    process=built.process,
    evaluation_process=built.evaluation_process,
    network=built.network,
    params=found[part],
    tokenizer=tokenizer,
    length=dataset["length"],
    packing=dataset["packing"],
    positions=ScoredPositions(
      config.data.get("scored") or "all", config.data.get("padding") or "ignored"
    ),
    num_labels=dataset["num_labels"],
    mesh=mesh,
    provenance=Provenance(
      workdir=str(path),
      step=metadata["step"],
      weights=weights,
      dtype=str(built.network.compute_dtype),
      git_revision=metadata.get("git_revision"),
      dataset_hash=dataset["hash"],
      characters_per_token=dataset["characters_per_token"],
      config=config.to_dict(),
      changes=metadata.get("changes", ()),
    ),
  )


def _unusable(fault: str, path: str, step: int, weights: str) -> UserError:
  earlier = [other for other in checkpoint.steps(workdir.checkpoints(path)) if other < step]
  way_out = (
    f"use an earlier checkpoint, by --step where the command takes one (there are {earlier})"
    if earlier
    else "there is no earlier checkpoint, so train again with a lower optimizer.learning_rate"
  )
  return UserError(f"the {weights} weights of step {step} of the run {path} {fault}: {way_out}.")


def training_data(model: Model) -> Store:
  """The prepared data that the model was trained on, prepared again where it is not here.

  Raises:
    UserError: the corpus cannot be read, or has changed since.
  """
  provenance = model.provenance
  fields = provenance.config["data"]
  if "corpus" not in fields:
    raise UserError(
      f"the model in {provenance.workdir} was trained on no data of this project: name a corpus."
    )
  prepared = preparation.prepare_together(fields)
  if prepared.hash != provenance.dataset_hash:
    raise UserError(
      f"the data prepared here (hash {prepared.hash}) is not what the run in "
      f"{provenance.workdir} was trained on (hash {provenance.dataset_hash}): bring its store, or "
      "the corpus it came from."
    )
  return prepared
