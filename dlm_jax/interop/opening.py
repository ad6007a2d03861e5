"""A model by its path: a run of this project, or a checkpoint in the Hugging Face layout."""

import jax.numpy as jnp
import ml_collections

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.finite import is_finite
from dlm_jax.data.positions import ScoredPositions
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed.mesh import Mesh, make_mesh
from dlm_jax.interop import hugging_face, tokenizer_files
from dlm_jax.interop.hugging_face import Checkpoint
from dlm_jax.model import from_config, model
from dlm_jax.model.model import Model
from dlm_jax.runs import workdir
from dlm_jax.runs.provenance import Provenance

# Sequences that are evaluated at once where nothing else says how many. It changes no number.
_BATCH_SIZE = 8
_WEIGHTS = "published"


def load(
  path: str,
  step: int | None = None,
  weights: str = "ema",
  *,
  mesh: Mesh | None = None,
  dtype: jnp.dtype | None = None,
) -> Model:
  """The model in a workdir, or in a directory in the Hugging Face layout, onto all devices here.

  Args:
    path: of either.
    step: of a run: which checkpoint; None is the newest that is whole.
    weights: of a run: `ema`, the moving average, or `raw`, those last trained.
    mesh, dtype: of a checkpoint, see `of_checkpoint`; the parameters of a run are float32.

  Raises:
    UserError: there is neither, or what is there cannot be opened; see `model.load` and
      `hugging_face.read`.
  """
  found = checkpoint_at(path, step, weights)
  if found is None:
    return model.load(path, step=step, weights=weights)
  return of_checkpoint(found, mesh, dtype)


def checkpoint_at(path: str, step: int | None, weights: str) -> Checkpoint | None:
  """The checkpoint in a directory in the Hugging Face layout; None of any other.

  Args:
    path: of the directory.
    step, weights: see `load`.

  Raises:
    UserError: see `hugging_face.read`; or a choice is made among weights that only a run has.
  """
  if not hugging_face.is_checkpoint(storage.local(path)):
    return None
  if step is not None:
    raise UserError(f"{path} is no run, so that it has no step {step}: leave --step out.")
  if weights != "ema":
    raise UserError(f"{path} is no run, so that it has no {weights} weights: leave --weights out.")
  return hugging_face.read(path)


def can_open(path: str) -> bool:
  """Whether `path` is a workdir, or a checkpoint of a known family."""
  directory = storage.local(path)
  return (directory / "checkpoints").is_dir() or hugging_face.is_known(directory)


def require(path: str) -> None:
  """Raises `UserError` where `path` is neither a workdir nor a checkpoint; reads no weights."""
  if hugging_face.is_checkpoint(storage.local(path)):
    hugging_face.read(path)
  else:
    workdir.read_config(path)


def of_checkpoint(
  checkpoint: Checkpoint, mesh: Mesh | None = None, dtype: jnp.dtype | None = None
) -> Model:
  """The model that a checkpoint holds.

  Args:
    checkpoint: of `hugging_face.read`.
    mesh: that holds the parameters; None is all devices here, rows of a batch spread over them.
    dtype: of the parameters; None is the one that the network computes in.

  Raises:
    UserError: the mask or the tokenizer is not to be found, or the weights are others than
      `config.json` says, or not finite.
  """
  described = checkpoint.description
  tokenizer = tokenizer_files.read(checkpoint.directory, described.rows)
  config = config_of(checkpoint, tokenizer)
  built = from_config.build(config, described.vocab_size)
  mesh = make_mesh({"data": -1}) if mesh is None else mesh
  params = checkpoint.params(built.network, mesh, dtype or built.network.compute_dtype)
  if not is_finite(params):
    raise UserError(f"the weights in {checkpoint.directory} are not finite: fetch them again.")
  return Model(
    process=built.process,
    evaluation_process=built.evaluation_process,
    network=built.network,
    params=params,
    tokenizer=tokenizer,
    length=described.length,
    packing=config.data.packing,
    positions=ScoredPositions(
      config.data.get("scored", "all"), config.data.get("padding", "ignored")
    ),
    num_labels=0,
    mesh=mesh,
    provenance=Provenance(
      workdir=str(checkpoint.directory),
      step=0,
      weights=_WEIGHTS,
      dtype=str(built.network.compute_dtype),
      git_revision=None,
      dataset_hash=checkpoint.fingerprint,
      characters_per_token={},
      config=config.to_dict(),
    ),
  )


def config_of(checkpoint: Checkpoint, tokenizer: Tokenizer) -> ml_collections.ConfigDict:
  """What a checkpoint is as a config of ours: its process and its network.

  Raises:
    UserError: neither `config.json` nor the tokenizer says which token is the mask.
  """
  described = checkpoint.description
  process = described.process
  if described.needs_mask:
    found = tokenizer_files.mask_id(checkpoint.directory, tokenizer, described.mask_tokens)
    process = described.with_mask(found)
  return ml_collections.ConfigDict(
    {
      "family": described.family,
      "process": process,
      "network": described.network,
      "evaluation": {"batch_size": _BATCH_SIZE, "process": described.scored_as},
      "data": {"packing": "stream", "length": described.length, **described.data},
    }
  )
