"""A restored model small enough for the tests of the commands: untrained, over the 27 letters."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from dlm_jax.core import resolve
from dlm_jax.data.tokenizers import letters
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.experiment import Restored
from dlm_jax.model.denoiser import Denoiser, with_cache
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs
from tests import tiny

LENGTH = 16
ROWS = 10


def rows(split):
  """Rows of letters; the second half of each row of the split `validation` is padding."""
  tokens = np.random.default_rng(0).integers(1, 27, (ROWS, LENGTH), dtype=np.int32)
  if split == "test":
    return _Rows({"tokens": tokens})
  given = np.broadcast_to(np.arange(LENGTH) >= LENGTH // 2, tokens.shape)
  return _Rows({"tokens": tokens, "given": given})


class _Rows:
  def __init__(self, arrays):
    self._arrays = arrays

  def __len__(self):
    return len(self._arrays["tokens"])

  def __getitem__(self, index):
    return {name: array[index] for name, array in self._arrays.items()}


def restored(packing: str = "stream", tokenizer=None, process_name="absorbing") -> Restored:
  """What `experiment.restore` returns, as far as the commands look at it."""
  tokenizer = tokenizer or letters.make()
  process = resolve.make(
    "dlm_jax.processes", {"name": process_name}, vocab_size=tokenizer.vocab_size
  )
  network = transformer.make(
    preset="tiny",
    width=16,
    heads=2,
    depth=1,
    interface=process.interface,
  )
  tokens = jnp.zeros((1, LENGTH), jnp.int32)
  params = network.init(jax.random.key(0), Inputs(tokens=tokens, time=jnp.zeros(1)))
  store = SimpleNamespace(
    tokenizer=tokenizer,
    hash="of the data",
    num_labels=0,
    manifest={"packing": packing},
    rows=rows,
    characters_per_token=lambda split: 2.0,
  )
  experiment = SimpleNamespace(
    config=ml_collections.ConfigDict(
      {"process": {"name": process_name}, "data": {"packing": packing}, "evaluation": {}}
    ),
    store=store,
    process=process,
    evaluation_process=process,
    network=network,
    mesh=make_mesh({"data": -1}),
    length=LENGTH,
    evaluation=SimpleNamespace(batch_size=4),
    denoiser=lambda params, labels=None: with_cache(
      Denoiser(network, params, pattern=process.pattern)
    ),
  )
  provenance = tiny.model(process_name, tokenizer=tokenizer, packing=packing).provenance
  metadata = {"git_revision": "of the training"}
  return Restored(experiment, params, 7, metadata, provenance)
