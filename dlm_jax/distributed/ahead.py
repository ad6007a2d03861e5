"""Compiling ahead of time: for which devices, and what the compiled program costs them.

The devices are those of this machine, any number of CPU devices, or TPUs described by libtpu.
"""

import math
import os
import re
import time
from dataclasses import dataclass

import jax
from jax.experimental import topologies

from dlm_jax.core.errors import UserError

# Of each generation of TPU: the axes of its network of chips.
AXES_OF_CHIPS = {"v5e": 2, "v6e": 2, "v5p": 3}

# Memory of a device in GiB by `device_kind`, from the vendors' data sheets.
MEMORY_GIB = {
  "TPU v5 lite": 16,
  "TPU v5": 95,
  "TPU v6 lite": 32,
  "NVIDIA A100-SXM4-40GB": 40,
  "NVIDIA A100-SXM4-80GB": 80,
  "NVIDIA H100 80GB HBM3": 80,
  "NVIDIA H200": 141,
}

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_INSTRUCTION = re.compile(rf" = (\S.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")


@dataclass(frozen=True)
class Topology:
  """Devices of one kind, and the platform they are of."""

  platform: str
  devices: tuple[jax.Device, ...]

  @property
  def kind(self) -> str:
    return self.devices[0].device_kind

  @property
  def memory_gib(self) -> float | None:
    """Of one device; None if unknown."""
    return MEMORY_GIB.get(self.kind)


def find(name: str) -> Topology:
  """The devices called `name`.

  `here` are those that JAX sees, `cpu:8` eight CPU devices, and `v5e-256`, `v6e-16` or `v5p-64` so
  many chips of that generation of TPU, which libtpu describes without having them.

  Raises:
    UserError: there is no such topology, or libtpu is missing.
  """
  if name == "here":
    return Topology(jax.default_backend(), tuple(jax.devices()))
  if match := re.fullmatch(r"cpu:([1-9]\d*)", name):
    return _cpus(int(match[1]))
  match = re.fullmatch(rf"({'|'.join(AXES_OF_CHIPS)})-([1-9]\d*)", name)
  chips = int(match[2]) if match else 0
  if chips not in (1, *(2**n for n in range(2, 14))):
    raise UserError(
      f"there is no topology {name!r}: name 'here', CPU devices as in 'cpu:8', or a power of two "
      f"of TPU chips (not 2) as in 'v5e-256'; the generations are {', '.join(AXES_OF_CHIPS)}."
    )
  return _tpus(match[1], chips)


def _cpus(number: int) -> Topology:
  try:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", number)
  except RuntimeError:  # JAX has started: it has the devices it has
    pass
  devices = jax.devices("cpu")
  if len(devices) < number:
    raise UserError(
      f"JAX has started with {len(devices)} CPU devices, too few for cpu:{number}: ask for a new "
      "process."
    )
  return Topology("cpu", tuple(devices[:number]))


def _tpus(generation: str, chips: int) -> Topology:
  # libtpu is to describe and to compile: it must not look for the TPUs of this machine.
  jax.config.update("jax_platforms", "cpu")
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  name = f"{generation}:{'x'.join(map(str, shape_of(chips, AXES_OF_CHIPS[generation])))}"
  alone = {"chips_per_host_bounds": (1, 1, 1)} if chips == 1 else {}
  try:
    found = topologies.get_topology_desc(platform="tpu", topology_name=name, **alone)
  except Exception as error:  # jaxlib raises whatever loading a library raises
    raise UserError(
      f"libtpu cannot describe {name} ({str(error).splitlines()[0]}): install it with "
      "pip install 'dlm_jax[tpu]'."
    ) from error
  return Topology("tpu", tuple(found.devices))


def shape_of(chips: int, axes: int) -> tuple[int, ...]:
  """The most even box of `chips`, a power of two: 8 chips are 2 x 4, or 2 x 2 x 2."""
  twos = int(math.log2(chips))
  shape = sorted(2 ** (twos // axes + (axis < twos % axes)) for axis in range(axes))
  return tuple(sorted(shape, key=lambda size: size == 1))  # libtpu wants 2 x 2 x 1


@dataclass(frozen=True)
class Collective:
  """One collective of a program.

  Attributes:
    kind: of `KINDS`.
    dtype, shape: of the largest array it makes on a device.
  """

  kind: str
  dtype: str
  shape: tuple[int, ...]

  @property
  def bytes(self) -> int:
    return BYTES[self.dtype] * math.prod(self.shape)


def collectives(text: str) -> list[Collective]:
  """The collectives of a compiled program, each once however often a loop runs it.

  Args:
    text: `Compiled.as_text()`.
  """
  found = []
  for result, kind, _ in _INSTRUCTION.findall(text):
    arrays = [
      Collective(kind, dtype, tuple(int(size) for size in sizes.split(",") if size))
      for dtype, sizes in _ARRAY.findall(result)
    ]
    found.append(max(arrays, key=lambda array: array.bytes))
  return found


@dataclass(frozen=True)
class Cost:
  """What a program costs each device.

  Attributes:
    arguments: bytes of what it is given, and of what takes its place.
    temporary: bytes that it needs beside them.
    collectives: each once, however often a loop runs it.
    seconds: that compiling took.
  """

  arguments: int
  temporary: int
  collectives: tuple[Collective, ...]
  seconds: float

  @property
  def memory(self) -> int:
    """Bytes that a device must have."""
    return self.arguments + self.temporary


def cost(lowered: jax.stages.Lowered, topology: Topology) -> Cost:
  """Compiles a program for the devices of `topology` and reads its cost; runs nothing.

  Raises:
    UserError: the program needs more memory than the compiler has for it.
  """
  start = time.perf_counter()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    reason = str(error).strip().splitlines()[0]
    raise UserError(
      f"the step does not fit a {topology.kind} ({reason}): take more devices, fewer rows or "
      "network.remat=full."
    ) from error
  seconds = time.perf_counter() - start
  memory = compiled.memory_analysis()
  # Donated: an output may lie where an argument was.
  outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
  return Cost(
    arguments=memory.argument_size_in_bytes,
    temporary=memory.temp_size_in_bytes + outputs + memory.generated_code_size_in_bytes,
    collectives=tuple(collectives(compiled.as_text())),
    seconds=seconds,
  )
