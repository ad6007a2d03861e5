"""Memory and time to open a checkpoint, against its size.

  python -m experiments.benchmarks.loading --gigabytes=0.1,1,4

Writes synthetic LLaDA checkpoints in bfloat16, in shards, under a temporary directory, and opens
each in a process of its own, in the dtype of the file. The parameters lie on the devices; where
these are the CPU's, they are part of the memory of the host, which must then hold them, and beside
them no more than the largest tensor twice.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from dlm_jax.core.interface import NetworkInterface
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.interop import family, hugging_face, tensor_writing, weights
from dlm_jax.interop.family import ModelFacts, ProcessFacts
from dlm_jax.interop.tensor_writing import NamedTensor
from dlm_jax.networks import llama

_GIGABYTES = flags.DEFINE_list("gigabytes", ["0.1", "1"], "Sizes of the checkpoints, 1e9 bytes.")
_PATH = flags.DEFINE_string("path", "", "A checkpoint to open and to measure, in this process.")

GB = 10**9
WIDTH, VOCAB = 1024, 8192
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def synthetic(directory: Path, size: int) -> None:
  """Writes a checkpoint of about `size` bytes, all of it zeros."""
  of_layer = (4 + 3 * 4) * WIDTH * WIDTH
  depth = max(1, round((size / BFLOAT16.itemsize - 2 * VOCAB * WIDTH) / of_layer))
  shape = {"width": WIDTH, "heads": 8, "depth": depth, "feedforward_width": 4 * WIDTH}
  network = llama.make(
    interface=NetworkInterface(columns=VOCAB, num_embeddings=VOCAB), dropout=0.0, **shape
  )
  layout = family.find("llada")
  process = ProcessFacts(name="absorbing", mask_id=VOCAB - 1)
  facts = ModelFacts(
    network=network, process=process, rows=VOCAB, tied_head=False, length=4096, special={}
  )
  (directory / "config.json").write_text(json.dumps(layout.own_config(facts)), encoding="utf-8")
  leaves = weights.flat(hugging_face.abstract_of(network, make_mesh({"data": -1})))
  shapes = {path: leaf.shape for path, leaf in leaves.items()}
  tensors = [
    NamedTensor(t.name, 2 * int(np.prod(t.shape)), partial(np.zeros, t.shape, BFLOAT16))
    for t in layout.name_map(network).tensors(shapes)
  ]
  tensor_writing.write(directory, tensors, largest=GB)


def measure(path: str) -> dict[str, float]:
  """Opens the checkpoint: its parameters, the growth of the peak of memory, the largest tensor."""
  mesh = make_mesh({"data": -1})
  jax.block_until_ready(jnp.zeros(1))
  before, start = _peak(), time.perf_counter()
  found = hugging_face.read(path)
  network = found.description.build_network()
  params = jax.block_until_ready(found.params(network, mesh, jnp.dtype("bfloat16")))
  sizes = [int(np.prod(entry.shape)) * 2 for entry in found.tensors.entries.values()]
  return {
    "seconds": time.perf_counter() - start,
    "peak": _peak() - before,
    "params": sum(leaf.nbytes for leaf in jax.tree.leaves(params)),
    "largest": max(sizes),
  }


def _peak() -> int:
  """The most memory that this process has held, in bytes."""
  return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _in_its_own_process(path: str) -> Mapping[str, float]:
  command = [sys.executable, "-m", "experiments.benchmarks.loading", f"--path={path}"]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  return json.loads(done.stdout.splitlines()[-1])


def main(_: list[str]) -> None:
  if _PATH.value:
    print(json.dumps(measure(_PATH.value)))
    return
  table = Table(title="opening a checkpoint in bfloat16")
  for column in ("parameters, GB", "seconds", "GB/s", "peak beside them, MB", "largest tensor, MB"):
    table.add_column(column, justify="right")
  for size in _GIGABYTES.value:
    with tempfile.TemporaryDirectory() as directory:
      synthetic(Path(directory), int(float(size) * GB))
      found = _in_its_own_process(directory)
    held = found["params"] if jax.default_backend() == "cpu" else 0
    table.add_row(
      f"{found['params'] / GB:.2f}",
      f"{found['seconds']:.1f}",
      f"{found['params'] / GB / found['seconds']:.2f}",
      f"{(found['peak'] - held) / 1e6:.0f}",
      f"{found['largest'] / 1e6:.0f}",
    )
  Console().print(table)


if __name__ == "__main__":
  app.run(main)
