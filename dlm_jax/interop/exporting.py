"""A model as a directory in the Hugging Face layout: that of a run, or of an opened checkpoint."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import writing
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.interop import model_card, opening, own_model, tensor_writing, tokenizer_writing
from dlm_jax.interop.export_settings import ExportSettings
from dlm_jax.interop.hugging_face import CONFIG, Checkpoint
from dlm_jax.interop.tensor_writing import NamedTensor
from dlm_jax.model import model
from dlm_jax.model.model import Model

CARD = "README.md"
# Of the names that safetensors files have for them.
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def export(settings: ExportSettings) -> str:
  """Writes the model and returns the name of its family.

  The directory appears when all of it is written.

  Raises:
    UserError: there is no such model, or no layout holds it.
    SystemFault: the files cannot be written.
  """
  assert settings.workdir is not None
  with writing(f"the export {settings.output}"):
    beside = settings.path.absolute().parent
    with tempfile.TemporaryDirectory(prefix=".export-", dir=beside) as temporary:
      unfinished = Path(temporary) / "model"
      unfinished.mkdir()
      chosen = (settings.workdir, settings.step, settings.weights)
      found = opening.checkpoint_at(*chosen)
      if found is not None:
        family = write_checkpoint(found, unfinished)
      else:
        family = write_run(model.load(*chosen), unfinished)
      unfinished.rename(settings.path)
  return family


def write_run(trained: Model, directory: Path) -> str:
  """Writes a model of ours in the layout that holds it, in float32; returns the family's name.

  Raises:
    UserError: no layout holds it.
  """
  layout = own_model.find_layout(trained)
  params = own_model.parameters(trained, layout)
  named = layout.family.name_map(layout.network)
  shapes = {path: leaf.shape for path, leaf in params.items()}
  dtype = np.dtype("float32")
  tensors = (tensor_writing.of_parameters(t, params, dtype) for t in named.tensors(shapes))
  tensor_writing.write(directory, tensors)
  config = {**layout.config, "torch_dtype": "float32"}
  (directory / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
  mask = own_model.mask_id(trained)
  tokenizer_writing.write(trained.tokenizer, directory, mask, trained.length)
  size = sum(leaf.size for leaf in params.values())
  card = model_card.of_run(trained.provenance, layout.family.name, size)
  (directory / CARD).write_text(card, encoding="utf-8")
  return layout.family.name


def write_checkpoint(checkpoint: Checkpoint, directory: Path) -> str:
  """Writes a checkpoint again from the parameters it became; returns the family's name.

  Each tensor has the dtype it had, and buffers and repeated tensors are written as they were.

  Raises:
    UserError: a tensor has more bits than a parameter, and would come out as another.
  """
  found, network = checkpoint.tensors, checkpoint.description.build_network()
  dtypes = {entry.dtype for entry in found.entries.values()}
  if "F64" in dtypes:
    raise UserError(
      f"{checkpoint.directory} has tensors in float64, of which parameters keep 32 bits, so that "
      "it cannot be written again as it is: convert them to float32 first."
    )
  dtype = jnp.dtype("bfloat16" if dtypes == {"BF16"} else "float32")
  params = checkpoint.params(network, make_mesh({"data": -1}), dtype)
  flat = tensor_writing.by_path(params)
  named = checkpoint.family.name_map(network).as_in(found.entries)
  shapes = {path: leaf.shape for path, leaf in flat.items()}

  def tensors() -> Iterator[NamedTensor]:
    left = set(found.entries)
    for tensor in named.tensors(shapes):
      left.remove(tensor.name)
      stored = jnp.dtype(DTYPES[found.entries[tensor.name].dtype])
      yield tensor_writing.of_parameters(tensor, flat, stored)
    for name in sorted(left):
      yield NamedTensor(name, found.read(name).nbytes, partial(found.read, name))

  tensor_writing.write(directory, tensors())
  for name in (CONFIG, "generation_config.json", *tokenizer_writing.FILES):
    if (checkpoint.directory / name).is_file():
      shutil.copyfile(checkpoint.directory / name, directory / name)
  size = sum(leaf.size for leaf in flat.values())
  card = model_card.of_checkpoint(checkpoint.directory, checkpoint.family.name, size)
  (directory / CARD).write_text(card, encoding="utf-8")
  return checkpoint.family.name


def main(settings: ExportSettings) -> None:
  """The command `export`."""
  family = export(settings)
  print(f"wrote {settings.output}, a {family} checkpoint")
