"""A directory in the Hugging Face layout: recognised, and its weights read onto a mesh."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

from dlm_jax.core import storage
from dlm_jax.core.json_files import read_object
from dlm_jax.core.types import Params, Record
from dlm_jax.distributed.mesh import Mesh, batch_shards
from dlm_jax.interop import family, files, weights
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.model.parameters import sharding_rules, with_layout
from dlm_jax.networks.base import Inputs, Network

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
  """What the files of a checkpoint say, before any weight is read.

  Attributes:
    directory: that holds the files.
    family: of the layout.
    description: what `config.json` says.
    tensors: what the headers of the weights say.
  """

  directory: Path
  family: CheckpointFamily
  description: Description
  tensors: files.TensorFiles

  def params(self, network: Network, mesh: Mesh, dtype: jnp.dtype) -> Params:
    """The parameters of the network, each on its shards.

    Args:
      network: of the description.
      mesh: that holds them.
      dtype: that they are held in.

    Raises:
      UserError: a tensor is missing, has another shape, or is not known; nothing is read then.
    """
    abstract = abstract_of(network, mesh)
    name_map = self.family.name_map(network).as_in(self.tensors.entries)
    source = weights.match(self.tensors, name_map, abstract, self.family.name)
    return weights.load(source, abstract, dtype)

  @property
  def fingerprint(self) -> str:
    """A hash of `config.json`, of names, shapes and places of tensors, and of their first bytes.

    Weights that were trained on have another one: training changes every tensor.
    """
    sha256 = hashlib.sha256((self.directory / CONFIG).read_bytes())
    for path in sorted({entry.path for entry in self.tensors.entries.values()}):
      for part in files.samples(path):
        sha256.update(part)
    return sha256.hexdigest()


def is_checkpoint(directory: Path) -> bool:
  """Whether a directory is in the Hugging Face layout, and no workdir, whose config is another."""
  if any((directory / name).is_file() for name in (files.SINGLE, files.INDEX)):
    return True
  return not _fields(directory).keys().isdisjoint(("architectures", "model_type"))


def is_known(directory: Path) -> bool:
  """Whether a directory in the Hugging Face layout is of a family that can be opened."""
  fields = _fields(directory)
  return any(family.find(name).recognises(fields) for name in family.names())


def _fields(directory: Path) -> Record:
  """What `config.json` says; nothing where there is none, or no whole one."""
  try:
    fields = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
  except (OSError, ValueError):
    return {}
  return fields if isinstance(fields, dict) else {}


def read(path: str) -> Checkpoint:
  """The checkpoint in a directory.

  Raises:
    UserError: it is of no known family, a field of its config is not understood, or a file is
      missing or damaged.
  """
  directory = storage.expand(path)
  where = directory / CONFIG
  fields = read_object(where, way_out=f"{path} is no checkpoint without it.")
  found = family.recognise(fields, str(where))
  config = ConfigFile(fields, str(where), found.name)
  description = found.describe(config)
  config.finish()
  tensors = files.find(directory)
  return Checkpoint(directory=directory, family=found, description=description, tensors=tensors)


def abstract_of(network: Network, mesh: Mesh) -> Params:
  """Shapes and shardings of the parameters of a network of tokens."""
  tokens = jax.ShapeDtypeStruct((batch_shards(mesh), 2), jnp.int32)

  def init(key: jax.Array, tokens: jax.Array) -> Params:
    return network.init(key, Inputs(tokens=tokens, time=jnp.zeros(tokens.shape[0])))

  shapes = jax.eval_shape(init, jax.random.key(0), tokens)
  return with_layout(shapes, sharding_rules(network), mesh)
