"""Devices by name, and collectives read from the text of a program."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dlm_jax.core.errors import UserError
from dlm_jax.distributed import ahead
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.distributed.platform import compiling_for, platform

TEXT = """
  %all-gather.1 = bf16[1,32,128]{1,2,0:T(8,128)(2,1)} all-gather(%param.1), dimensions={1}
  %all-reduce.2 = (f32[]{:T(128)}, f32[5,7]{0:T(1024)S(1)}) all-reduce(%a, %b), to_apply=%add
  %ar = (bf16[2,3], bf16[8,3], u32[]) all-gather-start(%convert), dimensions={0}
  %done = bf16[8,3] all-gather-done(%ar)
  %fused = f32[9] fusion(%all-gather.1), calls=%all-gather.clone
"""


def test_the_devices_here_and_some_of_them():
  here = ahead.find("here")
  assert (here.platform, here.devices, here.memory_gib) == ("cpu", tuple(jax.devices()), None)
  assert ahead.find("cpu:2").devices == tuple(jax.devices()[:2])


@pytest.mark.parametrize(
  ("chips", "axes", "shape"),
  [
    (1, 2, (1, 1)),
    (4, 2, (2, 2)),
    (8, 2, (2, 4)),
    (128, 2, (8, 16)),
    (256, 2, (16, 16)),
    (4, 3, (2, 2, 1)),
    (8, 3, (2, 2, 2)),
    (128, 3, (4, 4, 8)),
  ],
)
def test_chips_lie_in_an_even_box(chips, axes, shape):
  assert ahead.shape_of(chips, axes) == shape


@pytest.mark.parametrize("name", ["v5e", "v5e-0", "v5e-2", "v5e-24", "v9-4", "cpu:0", "gpu:8", ""])
def test_other_names_are_refused(name):
  with pytest.raises(UserError, match="there is no topology"):
    ahead.find(name)


def test_more_cpus_than_there_are():
  with pytest.raises(UserError, match="8 CPU devices, too few for cpu:9: ask for a new process"):
    ahead.find("cpu:9")


def test_compiling_for_another_platform():
  assert platform() == "cpu"
  with compiling_for("tpu"):
    assert platform() == "tpu"
  assert platform() == "cpu"


def test_reads_kinds_dtypes_and_shapes():
  assert ahead.collectives(TEXT) == [
    ahead.Collective("all-gather", "bf16", (1, 32, 128)),
    ahead.Collective("all-reduce", "f32", (5, 7)),
    ahead.Collective("all-gather", "bf16", (8, 3)),
  ]
  assert ahead.collectives(TEXT)[0].bytes == 2 * 32 * 128


def test_finds_the_gather_of_a_real_program():
  mesh = make_mesh({"data": 8})
  spread, whole = (NamedSharding(mesh, PartitionSpec(axis)) for axis in ("data", None))
  shape = jax.ShapeDtypeStruct((16, 3), jnp.float32, sharding=spread)
  compiled = jax.jit(lambda x: x + 1, out_shardings=whole).lower(shape).compile()
  assert ahead.collectives(compiled.as_text()) == [ahead.Collective("all-gather", "f32", (16, 3))]
