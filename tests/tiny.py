"""The smallest experiment that goes all the way, and the smallest model.

The experiment is a Markov chain, two narrow layers and short rows.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from configs import defaults
from dlm_jax import configuration
from dlm_jax.data.tokenizers import letters
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed.mesh import batch_shards, make_mesh
from dlm_jax.distributed.sharding import replicated
from dlm_jax.model import from_config
from dlm_jax.model.model import Model
from dlm_jax.model.parameters import init_params
from dlm_jax.runs.provenance import Provenance


def config(directory, **fields) -> ConfigDict:
  """The config with its data under `directory`; `fields` are dotted names and their values, or
  `process` or `data.corpus` as a whole."""
  config = defaults.get_config()
  config.data = {
    "corpus": {
      "name": "synthetic_markov",
      "letters": 5,
      "train_characters": 4000,
      "validation_characters": 800,
      "test_characters": 800,
    },
    "tokenizer": {"name": "letters"},
    "packing": "stream",
    "length": 16,
    "directory": str(directory),
  }
  config.network.update(width=32, heads=2, depth=2, condition_width=16)
  config.optimizer.update(name="muon", warmup_steps=2, learning_rate=1e-2)
  config.training.update(steps=12, batch_size=16, log_every=2, evaluate_every=6, ema_decay=0.9)
  config.evaluation.update(rows=16, batch_size=16)
  config.checkpoint.update(save_every=4, keep_latest=3)
  if "process" in fields:
    config.process = fields.pop("process")
  if "data.corpus" in fields:
    config.data.corpus = fields.pop("data.corpus")
  return configuration.override(config, fields).lock()


def model(
  process: str | dict = "absorbing",
  *,
  tokenizer: Tokenizer | None = None,
  packing: str = "stream",
  length: int = 16,
  num_labels: int = 0,
  **network: object,
) -> Model:
  """An untrained model over the letters of text8, or of `tokenizer`; made in a second.

  Args:
    process: its name, or its fields with the name.
    tokenizer, packing, length, num_labels: as of `Model`.
    **network: fields of the network beside those that make it small.
  """
  tokenizer = tokenizer or letters.make()
  fields = {"name": process} if isinstance(process, str) else process
  size = {"name": "transformer", "preset": "tiny", "width": 16, "heads": 2, "depth": 1}
  config = ConfigDict(
    {
      "process": fields,
      "network": {**size, **network},
      "data": {"packing": packing, "length": length},
      "evaluation": {},
      "training": {},
    }
  )
  built = from_config.build(config, tokenizer.vocab_size, num_labels)
  mesh = make_mesh({"data": -1})
  init = partial(init_params, built.process, built.network, rows=batch_shards(mesh), length=length)
  return Model(
    process=built.process,
    evaluation_process=built.evaluation_process,
    network=built.network,
    params=jax.jit(init, out_shardings=replicated(mesh))(jax.random.key(0)),
    tokenizer=tokenizer,
    length=length,
    packing=packing,
    num_labels=num_labels,
    mesh=mesh,
    provenance=Provenance(
      workdir="nowhere",
      step=7,
      weights="ema",
      dtype="float32",
      git_revision="of the training",
      dataset_hash="of the data",
      characters_per_token={"test": 1.0},
      config=config.to_dict(),
    ),
  )


def random(model: Model) -> Model:
  """The model with parameters all of which are random.

  The head of an untrained one is 0, so that it predicts the same whatever it sees.
  """
  leaves, tree = jax.tree.flatten(model.params)
  keys = jax.random.split(jax.random.key(0), len(leaves))
  drawn = [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
  return dataclasses.replace(model, params=jax.tree.unflatten(tree, drawn))


def diverged(model: Model) -> Model:
  """The model with weights that are not numbers."""
  params = jax.tree.map(lambda leaf: leaf * jnp.nan, model.params)
  return dataclasses.replace(model, params=params)
