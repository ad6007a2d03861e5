"""Collectives read from the text of a program."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from dlm_jax.distributed.collectives import Collective, collectives
from dlm_jax.distributed.mesh import make_mesh

TEXT = """
  %all-gather.1 = bf16[1,32,128]{1,2,0:T(8,128)(2,1)} all-gather(%param.1), dimensions={1}
  %all-reduce.2 = (f32[]{:T(128)}, f32[5,7]{0:T(1024)S(1)}) all-reduce(%a, %b), to_apply=%add
  %ar = (bf16[2,3], bf16[8,3], u32[]) all-gather-start(%convert), dimensions={0}
  %done = bf16[8,3] all-gather-done(%ar)
  %fused = f32[9] fusion(%all-gather.1), calls=%all-gather.clone
"""


def test_reads_kinds_dtypes_and_shapes():
  assert collectives(TEXT) == [
    Collective("all-gather", "bf16", (1, 32, 128)),
    Collective("all-reduce", "f32", (5, 7)),
    Collective("all-gather", "bf16", (8, 3)),
  ]
  assert collectives(TEXT)[0].bytes == 2 * 32 * 128


def test_finds_the_gather_of_a_real_program():
  mesh = make_mesh({"data": 8})
  spread, whole = (NamedSharding(mesh, PartitionSpec(axis)) for axis in ("data", None))
  shape = jax.ShapeDtypeStruct((16, 3), jnp.float32, sharding=spread)
  compiled = jax.jit(lambda x: x + 1, out_shardings=whole).lower(shape).compile()
  assert collectives(compiled.as_text()) == [Collective("all-gather", "f32", (16, 3))]
