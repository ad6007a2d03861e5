"""Memory of the forward pass of LLaDA-8B, compiled for devices that need not be here.

  python -m experiments.benchmarks.opened_memory --topology=v5p-1 --rows=1,16 --lengths=1024,4096

The network is that of LLaDA-8B's `config.json`, its weights and its products in bfloat16; a pass
gives the logits of all positions in float32, and those of its last 32 positions where a decoder
asks for a block alone. Nothing is downloaded and nothing is run.
"""

import itertools

import jax
import jax.numpy as jnp
from absl import app, flags
from jax import Array
from rich.console import Console
from rich.table import Table

from dlm_jax.core.types import Params
from dlm_jax.distributed import ahead
from dlm_jax.distributed.ahead import Cost, Topology
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.distributed.platform import compiling_for
from dlm_jax.distributed.sharding import batch_sharding
from dlm_jax.interop import hugging_face
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.families import llada
from dlm_jax.networks.base import Inputs

_TOPOLOGY = flags.DEFINE_string("topology", "v5p-1", "Devices, as of compile_check.")
_ROWS = flags.DEFINE_list("rows", ["1", "16"], "Batch sizes.")
_LENGTHS = flags.DEFINE_list("lengths", ["1024", "4096"], "Tokens of a row.")
_TENSOR = flags.DEFINE_integer("tensor", 1, "Size of the tensor axis; the rest is fsdp.")

LLADA_8B = {
  "activation_type": "silu",
  "block_type": "llama",
  "d_model": 4096,
  "embedding_size": 126464,
  "layer_norm_type": "rms",
  "mask_token_id": 126336,
  "max_sequence_length": 4096,
  "mlp_hidden_size": 12288,
  "n_heads": 32,
  "n_kv_heads": 32,
  "n_layers": 32,
  "rms_norm_eps": 1e-5,
  "rope": True,
  "rope_theta": 500000.0,
  "vocab_size": 126464,
  "weight_tying": False,
}
BLOCK = 32
GIB = 2**30


def compiled(topology: Topology, rows: int, length: int, scored: int) -> Cost:
  """What a pass costs a device that gives the logits of the last `scored` positions."""
  described = llada.make().describe(ConfigFile(LLADA_8B, "LLaDA-8B", "llada"))
  sizes = {"fsdp": -1, "tensor": _TENSOR.value}
  mesh = make_mesh(sizes, topology.devices)
  network = described.build_network(dtype="bfloat16")
  params = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=leaf.sharding),
    hugging_face.abstract_of(network, mesh),
  )
  tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32, sharding=batch_sharding(mesh))

  def forward(params: Params, tokens: Array) -> Array:
    hidden = network.hidden(params, Inputs(tokens=tokens, time=jnp.zeros(rows)))
    return network.head(params, hidden[:, length - scored :])

  with compiling_for(topology.platform), jax.set_mesh(mesh):
    return ahead.cost(jax.jit(forward).lower(params, tokens), topology)


def main(_: list[str]) -> None:
  topology = ahead.find(_TOPOLOGY.value)
  table = Table(title=f"LLaDA-8B on {_TOPOLOGY.value}: GiB of a device")
  for column in ("rows", "length", "logits of", "weights", "temporary", "together", "compiled, s"):
    table.add_column(column, justify="right")
  shapes = itertools.product(map(int, _ROWS.value), map(int, _LENGTHS.value))
  for rows, length in shapes:
    for scored in (length, BLOCK):
      cost = compiled(topology, rows, length, scored)
      sizes = (cost.arguments, cost.temporary, cost.memory)
      found = [f"{size / GIB:.1f}" for size in sizes]
      table.add_row(str(rows), str(length), str(scored), *found, f"{cost.seconds:.0f}")
  Console().print(table)


if __name__ == "__main__":
  app.run(main)
