"""What can be known before training begins: each mistake is one sentence, before data is prepared.

The range of a single number is stated where its field is, see `core.ranges`; here is what depends
on several of them, on the data, or on the machine. `experiment.build` and `run.train` call them.
"""

import importlib.util
import os
from collections.abc import Iterable

import jax
import numpy as np

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Blocks
from dlm_jax.data.store import Store
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.interop import opening
from dlm_jax.processes.base import Process
from dlm_jax.processes.block import Block
from dlm_jax.processes.facets import HasMask
from dlm_jax.runs import checkpoint
from dlm_jax.runs.workdir import checkpoints
from dlm_jax.training.config import EvaluationConfig, TrainingConfig


def check_batches(
  training: TrainingConfig, evaluation: EvaluationConfig, mesh: jax.sharding.Mesh, length: int
) -> None:
  """Raises `UserError` unless batches fit the mesh, and the chunks of the head the length."""
  shards = batch_shards(mesh)
  sizes = {
    "training.batch_size / training.accumulate": training.batch_size // training.accumulate,
    "evaluation.batch_size": evaluation.batch_size,
  }
  for name, rows in sizes.items():
    if rows % shards:
      raise UserError(
        f"{name} is {rows}, which the {shards} batch shards of the mesh do not divide: set it to "
        "a multiple of them."
      )
  if length % (training.head_chunks or 1):
    raise UserError(
      f"training.head_chunks {training.head_chunks} does not divide data.length {length}: set it "
      "to a divisor."
    )


def check_process(process: Process, training: TrainingConfig, length: int) -> None:
  """Raises `UserError` where training or its rows are not such as the process needs."""
  pattern = process.pattern
  if isinstance(pattern, Blocks) and pattern.size > length:
    raise UserError(
      f"process.block_size is {pattern.size}, and a row has only data.length {length} tokens: make "
      "blocks shorter or rows longer."
    )
  if training.clip_batches and not isinstance(process, Block):
    raise UserError(
      f"training.clip_batches is {training.clip_batches}, and {type(process).__name__} has no "
      "process.clip to be searched: only block diffusion has. Set it to 0."
    )


def check_mask(process: Process, tokenizer: Tokenizer) -> None:
  """Raises `UserError` where the mask is a symbol that the text has as well."""
  if not isinstance(process, HasMask) or process.mask_id >= tokenizer.vocab_size:
    return
  mask, text = process.mask_id, tokenizer.decode(np.array([process.mask_id]))
  ids = {
    "separator": tokenizer.separator_id,
    "begin symbol": tokenizer.bos_id,
    "end symbol": tokenizer.eos_id,
    "padding": tokenizer.pad_id,
  }
  uses = [f"the text {text!r}"] * bool(text) + [f"its {n}" for n, i in ids.items() if i == mask]
  if uses:
    raise UserError(
      f"process.mask_id is {mask}, which the tokenizer uses for {uses[0]}: leave it open, so that "
      f"the mask is {tokenizer.vocab_size}, outside the data, or give the id of a symbol that no "
      "text has."
    )


def check_splits(splits: tuple[str, ...]) -> None:
  """Raises `UserError` unless data with these splits can be validated on."""
  if "validation" not in splits:
    raise UserError(
      f"training needs a validation split, and the corpus has only {', '.join(splits)}: hold some "
      "of it out (data.corpus.validation, or held_out of hf_dataset)."
    )


def check_rows(store: Store) -> None:
  """Raises `UserError` unless the data is whole, and gives a bound with a standard error."""
  check_splits(store.splits)
  rows = store.num_rows("validation")
  if rows < 2:
    raise UserError(
      f"the validation split in {store.directory} has {rows} row, and a standard error needs 2: "
      "hold more of the corpus out (data.corpus.validation), or lower data.length."
    )
  for split in ("train", "validation"):
    store.rows(split)  # held against its checksums now, and not in the course of the run


def check_origins(workdir: str | os.PathLike, runs: Iterable[str]) -> None:
  """Raises `UserError` where a model does not exist whose weights a run is to start from.

  A run that resumes needs none of them.
  """
  if not checkpoint.steps(checkpoints(workdir)):
    for path in filter(None, runs):
      opening.require(path)


def check_machine(workdir: str | os.PathLike, wandb_project: str) -> None:
  """Raises `UserError` where a run could not write what it will have to write."""
  if wandb_project and importlib.util.find_spec("wandb") is None:
    raise UserError(
      f"wandb_project is {wandb_project!r}, and the package wandb is not installed: pip install "
      '"dlm_jax[wandb]", or leave wandb_project empty.'
    )
  path = storage.local(workdir).absolute()
  there = next(place for place in (path, *path.parents) if place.exists())
  if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
    why = "is not writable" if there.is_dir() else "is a file"
    raise UserError(f"cannot write to the workdir {path} ({there} {why}): give another.")
