"""What is restored is what was saved, bit for bit; anything else is said aloud."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import fsspec
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import SystemFault
from dlm_jax.core.json_files import seal
from dlm_jax.runs import checkpoint
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.runs.record import flatten, payload

METADATA = {"config": {"width": 8, "shape": [2, 3]}, "git_revision": "abc", "dataset_hash": "d"}

# Orbax leaves coroutines behind when an array cannot be read; they complain when collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  step: Any
  params: Any
  ema: Any
  opt_state: Any


def make_state(step: int, width: int = 8) -> State:
  keys = jax.random.split(jax.random.key(step), 4)
  params = {
    "kernel": jax.random.normal(keys[0], (64, width)),
    "half": jax.random.normal(keys[1], (5,), jnp.bfloat16),
    "layers": [jax.random.normal(keys[2], (16,)), jnp.zeros((0, 3))],
  }
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
  _, opt_state = optimizer.update(params, optimizer.init(params), params)
  kinds = {
    "mask": jnp.array([True, False, True]),
    "bytes": jnp.arange(-3, 4, dtype=jnp.int8),
    "words": jnp.array([0, 2**32 - 1], jnp.uint32),
  }
  ema = {"kernel": jax.random.normal(keys[3], (64, width)), "kinds": kinds}
  return State(jnp.int32(step), params, ema, opt_state)


def abstract(state: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def assert_same_bits(a: Any, b: Any) -> None:
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert x.dtype == y.dtype and x.shape == y.shape
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def open_(directory: pathlib.Path, **fields: Any) -> Checkpointer:
  return Checkpointer(directory, **{"save_every": 10, "keep_latest": 3, **fields})


def save_steps(directory: pathlib.Path, *steps: int) -> None:
  with open_(directory) as checkpointer:
    for step in steps:
      assert checkpointer.save(step, make_state(step), METADATA, bound=100.0 - step)


def edit_record(directory: pathlib.Path, step: int, edit: Any) -> None:
  """Edits the record as somebody would who also repairs its checksum."""
  path = directory / str(step) / "record" / "metadata"
  record = json.loads(path.read_text())
  del record["checksum"]
  edit(record)
  path.write_text(json.dumps(seal(record)))


def arrays(directory: pathlib.Path, step: int) -> list[pathlib.Path]:
  """The files with the bytes of the arrays, the largest first."""
  files = [p for p in (directory / str(step) / "state").rglob("*") if p.parent.name == "d"]
  return sorted(files, key=lambda p: -p.stat().st_size)


# What is saved and restored.


def test_round_trip_is_bitwise(tmp_path):
  state = make_state(10)
  save_steps(tmp_path, 10)
  restored, metadata = open_(tmp_path).restore(abstract(state))
  assert_same_bits(restored, state)
  assert isinstance(restored, State)
  assert metadata == {**METADATA, "step": 10, "bound": 90.0}


def test_donating_the_state_at_once_does_not_change_what_is_saved(tmp_path):
  state = {"x": jnp.arange(200_000.0)}
  with open_(tmp_path) as checkpointer:
    checkpointer.save(10, state, {})
    for _ in range(3):
      state = jax.jit(lambda s: {"x": s["x"] + 1}, donate_argnums=0)(state)
  restored, _ = checkpoint.restore(tmp_path, {"x": jax.ShapeDtypeStruct((200_000,), jnp.float32)})
  np.testing.assert_array_equal(restored["x"], np.arange(200_000.0))


def meshes() -> list[Mesh]:
  if jax.device_count() < 8:
    pytest.skip("needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8")
  devices = np.asarray(jax.devices())
  return [Mesh(devices.reshape(2, 4), ("a", "b")), Mesh(devices.reshape(8, 1), ("a", "b"))]


def place(state: State, mesh: Mesh) -> State:
  def sharding(x):
    split = ("a", "b") if x.ndim == 2 and x.size else ()
    return NamedSharding(mesh, PartitionSpec(*split))

  return jax.device_put(state, jax.tree.map(sharding, state))


def test_restores_to_another_mesh(tmp_path):
  one, other = meshes()
  state = make_state(10)
  with open_(tmp_path) as checkpointer:
    checkpointer.save(10, place(state, one), METADATA)
  target = place(state, other)
  restored, _ = checkpoint.restore(tmp_path, abstract(target))
  assert_same_bits(restored, state)
  for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(target), strict=True):
    assert x.sharding == y.sharding


def test_a_leaf_without_a_sharding_goes_to_one_device(tmp_path):
  one, _ = meshes()
  state = make_state(10)
  with open_(tmp_path) as checkpointer:
    checkpointer.save(10, place(state, one), METADATA)
  restored, _ = checkpoint.restore(tmp_path, jax.eval_shape(lambda: state))
  assert_same_bits(restored, state)
  assert {len(x.devices()) for x in jax.tree.leaves(restored)} == {1}


def test_a_part_is_restored_without_the_rest(tmp_path):
  save_steps(tmp_path, 10)
  state = make_state(10)
  # The optimizer's arrays are not even read: their record says that they are altered.
  edit_record(
    tmp_path,
    10,
    lambda r: [v.update(fingerprint=0) for k, v in r["leaves"].items() if k.startswith("opt_")],
  )
  part = abstract({"params": state.params, "ema": state.ema})
  restored, metadata = checkpoint.restore(tmp_path, part, partial=True)
  assert_same_bits(restored, {"params": state.params, "ema": state.ema})
  assert metadata["step"] == 10
  with pytest.raises(UserError, match=r"opt_state.* there only"):
    checkpoint.restore(tmp_path, part)
  with pytest.raises(UserError, match="opt_state"):
    checkpoint.restore(tmp_path, abstract(state))


def test_restore_waits_for_the_save_in_flight(tmp_path):
  with open_(tmp_path) as checkpointer:
    checkpointer.save(10, make_state(10), METADATA)
    assert checkpointer.restore(abstract(make_state(10)))[1]["step"] == 10


def test_two_leaves_of_one_name_are_refused(tmp_path):
  clash = {"a/b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}}
  with open_(tmp_path) as checkpointer, pytest.raises(ValueError, match="the same path"):
    checkpointer.save(10, clash, {})


# Which steps are kept.


def test_keeps_the_latest_every_nth_and_the_best(tmp_path):
  bounds = {10: float("nan"), 20: 3.0, 30: 1.0, 40: 2.0, 50: None, 60: 1.0, 70: None, 80: 5.0}
  with open_(tmp_path, keep_latest=2, keep_every=40) as checkpointer:
    for step, bound in bounds.items():
      checkpointer.save(step, make_state(step), METADATA, bound=bound)
  assert checkpoint.steps(tmp_path) == [40, 60, 70, 80]
  # A resumed run knows the best of the run before it.
  with open_(tmp_path, keep_latest=1) as checkpointer:
    checkpointer.save(90, make_state(90), METADATA, bound=6.0)
  assert checkpoint.steps(tmp_path) == [60, 90]


def test_saves_at_its_cadence_and_when_forced_but_never_twice(tmp_path):
  with open_(tmp_path) as checkpointer:
    assert not checkpointer.save(7, make_state(7), METADATA)
    assert checkpointer.save(7, make_state(7), METADATA, force=True)
    assert not checkpointer.save(7, make_state(8), METADATA, force=True)
    assert checkpointer.save(10, make_state(10), METADATA)
    assert checkpointer.latest_step() == 10
  restored, _ = checkpoint.restore(tmp_path, abstract(make_state(7)), step=7)
  assert_same_bits(restored, make_state(7))


# Damage.


def truncate(directory):
  path = arrays(directory, 20)[0]
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(directory):
  path = arrays(directory, 20)[0]
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def delete_a_file(directory):
  arrays(directory, 20)[0].unlink()


def delete_the_state(directory):
  shutil.rmtree(directory / "20" / "state")


def empty_the_step(directory):
  shutil.rmtree(directory / "20")
  (directory / "20").mkdir()


def delete_the_record(directory):
  (directory / "20" / "record" / "metadata").unlink()


def garble_the_record(directory):
  (directory / "20" / "record" / "metadata").write_bytes(b"\xff{ not json")


def empty_the_record(directory):
  (directory / "20" / "record" / "metadata").write_text("[]")


def alter_the_record(directory):
  path = directory / "20" / "record" / "metadata"
  path.write_text(path.read_text().replace('"width": 8', '"width": 9'))


def garble_orbax_metadata(directory):
  for name in ("_CHECKPOINT_METADATA", "state/_METADATA", "state/_sharding"):
    (directory / "20" / name).write_bytes(b"garbage")


def swap_in_other_values(directory):
  """Arrays that Orbax restores happily, under the record of others."""
  shutil.rmtree(directory / "20" / "state")
  shutil.copytree(directory / "10" / "state", directory / "20" / "state")


def _write_instead(directory, step, change):
  arrays = payload(flatten(make_state(step)))
  arrays["params/kernel"] = change(arrays["params/kernel"])
  shutil.rmtree(directory / str(step) / "state")
  orbax.checkpoint.PyTreeCheckpointer().save(directory / str(step) / "state", arrays)


def store_another_dtype(directory):
  _write_instead(directory, 20, lambda x: x.astype(jnp.bfloat16))


def store_another_shape(directory):
  _write_instead(directory, 20, lambda x: x[:32])


DAMAGES = [
  truncate,
  flip_a_bit,
  delete_a_file,
  delete_the_state,
  empty_the_step,
  delete_the_record,
  garble_the_record,
  empty_the_record,
  alter_the_record,
  garble_orbax_metadata,
  swap_in_other_values,
  store_another_dtype,
  store_another_shape,
]


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
  directory = tmp_path_factory.mktemp("two_steps")
  save_steps(directory, 10, 20)
  return directory


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
  two_steps, tmp_path, damage, caplog
):
  directory = tmp_path / "checkpoints"
  shutil.copytree(two_steps, directory)
  damage(directory)
  before = listing(directory / "20")
  with open_(directory) as checkpointer:
    assert checkpointer.latest_step() == 20
    restored, metadata = checkpointer.restore(abstract(make_state(10)))
    assert_same_bits(restored, make_state(10))
    assert metadata["step"] == 10
    assert "DAMAGED CHECKPOINT: step 20" in caplog.text
    # Moved, not deleted; and the resumed run saves the step again.
    assert listing(directory / "damaged" / "20-0") == before
    assert checkpointer.latest_step() == 10
    assert checkpointer.save(20, make_state(20), METADATA)
  restored, _ = checkpoint.restore(directory, abstract(make_state(20)))
  assert_same_bits(restored, make_state(20))


def listing(directory: pathlib.Path) -> dict[str, bytes]:
  files = [p for p in directory.rglob("*") if p.is_file()]
  return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def test_the_same_step_can_be_damaged_twice(tmp_path):
  save_steps(tmp_path, 10, 20)
  for n in range(2):
    truncate(tmp_path)
    with open_(tmp_path) as checkpointer:
      checkpointer.restore(abstract(make_state(10)))
      checkpointer.save(20, make_state(20), METADATA)
    assert (tmp_path / "damaged" / f"20-{n}").is_dir()


def test_a_reader_moves_nothing(two_steps, tmp_path, caplog):
  directory = tmp_path / "checkpoints"
  shutil.copytree(two_steps, directory)
  flip_a_bit(directory)
  before = listing(directory)
  _, metadata = checkpoint.restore(directory, abstract(make_state(10)))
  assert metadata["step"] == 10
  assert "DAMAGED CHECKPOINT: step 20" in caplog.text
  with pytest.raises(UserError, match=r"step 20 .* is damaged: the bits of .* \[10, 20\]"):
    checkpoint.restore(directory, abstract(make_state(10)), step=20)
  assert listing(directory) == before


def test_when_all_are_damaged_nothing_is_moved(two_steps, tmp_path):
  directory = tmp_path / "checkpoints"
  shutil.copytree(two_steps, directory)
  truncate(directory)
  (directory / "10" / "record" / "metadata").unlink()
  before = listing(directory)
  with open_(directory) as checkpointer:
    with pytest.raises(UserError, match=r"every checkpoint.*step 20: its arrays.*step 10: its rec"):
      checkpointer.restore(abstract(make_state(10)))
    assert checkpointer.latest_step() == 20
  assert listing(directory) == before


def test_a_checkpoint_of_another_model_is_not_damage(two_steps, tmp_path):
  directory = tmp_path / "checkpoints"
  shutil.copytree(two_steps, directory)
  flip_a_bit(directory)
  before = listing(directory)
  state = make_state(10)
  cases = {
    r"params/kernel has shape \(64, 8\) there, \(64, 16\) here; .*and 1 more": make_state(
      10, width=16
    ),
    r"params/half is bfloat16 there, float32 here": dataclasses.replace(
      state, params={**state.params, "half": state.params["half"].astype(jnp.float32)}
    ),
    r"params/new is missing there": dataclasses.replace(
      state, params={**state.params, "new": jnp.zeros(3)}
    ),
    r"ema/kernel is there only": dataclasses.replace(state, ema={"kinds": state.ema["kinds"]}),
  }
  with open_(directory) as checkpointer:
    for message, other in cases.items():
      with pytest.raises(UserError, match=message):
        checkpointer.restore(abstract(other))
  assert listing(directory) == before


def test_a_checkpoint_of_another_config_is_refused_whatever_its_shapes(two_steps, tmp_path):
  target = abstract(make_state(10))
  config = {"width": 8, "shape": [2, 3]}
  assert checkpoint.restore(two_steps, target, config=config)[1]["step"] == 20
  sentence = r"checkpoint of step 20 was saved under another config: shape: \[2, 3\] -> \[2, 4\]"
  with pytest.raises(UserError, match=sentence):
    checkpoint.restore(two_steps, target, config={**config, "shape": [2, 4]})
  shutil.copytree(two_steps, tmp_path / "copy")
  with open_(tmp_path / "copy") as checkpointer, pytest.raises(UserError, match=sentence):
    checkpointer.restore(target, {**config, "shape": [2, 4]})


def test_a_checkpoint_that_holds_no_config_is_that_of_no_run(tmp_path):
  with open_(tmp_path) as checkpointer:
    checkpointer.save(10, make_state(10), {})
  assert checkpoint.newest_metadata(tmp_path) is None
  with pytest.raises(UserError, match="step 10 is of another model: it holds no config of a run"):
    checkpoint.restore(tmp_path, abstract(make_state(10)), config={"width": 8})


def test_checkpoints_remember_at_which_steps_the_rates_were_changed(tmp_path):
  rates = {0: 1.0, 10: 0.5, 20: 0.5, 30: 0.25}
  for start, rate in rates.items():
    config = {"optimizer": {"learning_rate": rate}}
    with open_(tmp_path) as checkpointer:
      if start:
        checkpointer.restore(abstract(make_state(start)), config)
      checkpointer.save(start + 10, make_state(start + 10), {"config": config})
  changes = checkpoint.newest_metadata(tmp_path)["changes"]
  assert changes == [
    {"step": 10, "optimizer.learning_rate": "1.0 -> 0.5"},
    {"step": 30, "optimizer.learning_rate": "0.5 -> 0.25"},
  ]


def test_trouble_of_the_device_is_not_damage(two_steps, monkeypatch):
  def exhausted(*_):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

  monkeypatch.setattr(checkpoint, "_read_arrays", exhausted)
  with pytest.raises(jax.errors.JaxRuntimeError):
    checkpoint.restore(two_steps, abstract(make_state(10)))


@pytest.mark.parametrize("part", ["_read_arrays", "unseal"])
def test_too_many_open_files_are_not_damage(two_steps, monkeypatch, part):
  def refuse(*_):
    raise ValueError("Failed to open: Too many open files [os_error_code='24']")

  monkeypatch.setattr(checkpoint, part, refuse)
  with pytest.raises(SystemFault, match=r"20 cannot be read: Too many .*; raise the limit on open"):
    checkpoint.restore(two_steps, abstract(make_state(10)))


def test_a_sharding_that_does_not_divide_is_not_damage(two_steps):
  sharding = NamedSharding(meshes()[0], PartitionSpec("a"))
  target = {"params": {"half": jax.ShapeDtypeStruct((5,), jnp.bfloat16, sharding=sharding)}}
  with pytest.raises(ValueError, match="evenly divide") as error:
    checkpoint.restore(two_steps, target, partial=True)
  assert not isinstance(error.value, UserError)


# Saves that do not end well.

_CHILD = """
import glob, os, signal, sys, threading, time
import jax, numpy as np
from dlm_jax.runs.checkpointer import Checkpointer

directory = sys.argv[1]
state = {"x": jax.numpy.asarray(np.random.default_rng(0).normal(size=2**22).astype("float32"))}

def kill_when_half_written():
  while not glob.glob(f"{directory}/20.*/state*/**/d/*", recursive=True):
    time.sleep(1e-4)
  os.kill(os.getpid(), signal.SIGKILL)

with Checkpointer(directory, save_every=10, keep_latest=2) as checkpointer:
  checkpointer.save(10, state, {})
  checkpointer.wait()
  threading.Thread(target=kill_when_half_written, daemon=True).start()
  checkpointer.save(20, state, {})
"""


def run_child(script: str, *arguments: Any) -> subprocess.CompletedProcess:
  root = pathlib.Path(checkpoint.__file__).parents[2]
  return subprocess.run(
    [sys.executable, "-c", script, *map(str, arguments)],
    env={**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_kill_in_the_middle_of_a_save(tmp_path):
  done = run_child(_CHILD, tmp_path)
  assert done.returncode == -9, done.stderr
  assert list(tmp_path.glob("20.*")), "the save was over before the kill"
  assert checkpoint.steps(tmp_path) == [10]
  target = {"x": jax.ShapeDtypeStruct((2**22,), jnp.float32)}
  with open_(tmp_path) as checkpointer:
    assert checkpointer.latest_step() == 10
    state, metadata = checkpointer.restore(target)
    assert metadata["step"] == 10
    assert not list(tmp_path.glob("20.*"))
    assert checkpointer.save(20, state, {})
  assert checkpoint.steps(tmp_path) == [10, 20]
  assert_same_bits(checkpoint.restore(tmp_path, target, step=20)[0], state)


_FULL_DISK = """
import resource, sys
import jax, numpy as np
from dlm_jax.core.errors import UserError
from dlm_jax.runs.checkpointer import Checkpointer

state = {"x": jax.numpy.asarray(np.random.default_rng(0).normal(size=2**18).astype("float32"))}
checkpointer = Checkpointer(sys.argv[1], save_every=10, keep_latest=1)
checkpointer.save(10, state, {}, bound=2.0)
checkpointer.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
checkpointer.save(20, state, {}, bound=1.0)
try:
  checkpointer.wait()
except UserError as error:
  print(error)
assert checkpointer.latest_step() == 10, checkpointer.latest_step()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
assert checkpointer.save(20, state, {}, bound=3.0)
checkpointer.wait()
assert checkpointer.latest_step() == 20
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
checkpointer.save(30, state, {})
try:
  checkpointer.close()
except UserError as error:
  print(error)
"""


def test_a_full_disk_names_the_step_and_spares_the_rest(tmp_path):
  done = run_child(_FULL_DISK, tmp_path)
  assert done.returncode == 0, done.stderr
  for step in (20, 30):
    assert (
      f"saving the checkpoint of step {step} in {tmp_path} failed: File too large" in done.stdout
    )
  assert "Traceback" not in done.stderr
  assert checkpoint.steps(tmp_path) == [10, 20]


# What a user can ask for that is not there.


def test_a_bucket_is_not_a_directory_here(tmp_path, monkeypatch):
  """`gs://bucket` must not become `<working directory>/gs:/bucket`."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(fsspec, "filesystem", lambda *_, **__: MemoryFileSystem())
  with pytest.raises(UserError, match="no checkpoint in gs://bucket/run"):
    checkpoint.restore("gs://bucket/run", {})
  with pytest.raises(UserError, match="no checkpoint of step 3 in gs://bucket/run"):
    checkpoint.restore("gs://bucket/run", {}, step=3)
  assert not list(tmp_path.iterdir())


def test_missing_directory_and_unknown_step(two_steps, tmp_path):
  target = abstract(make_state(10))
  with pytest.raises(UserError, match=r"no checkpoint in .*nowhere"):
    checkpoint.restore(tmp_path / "nowhere", target)
  assert not (tmp_path / "nowhere").exists()
  with pytest.raises(UserError, match=r"no checkpoint of step 15 .* are \[10, 20\]"):
    checkpoint.restore(two_steps, target, step=15)
  with pytest.raises(UserError, match=r"step 15 in .*nowhere. There is none at all"):
    checkpoint.restore(tmp_path / "nowhere", target, step=15)
  with open_(tmp_path / "fresh") as checkpointer:
    assert checkpointer.latest_step() is None
    with pytest.raises(UserError, match="no checkpoint in"):
      checkpointer.restore(target)


@pytest.mark.parametrize("field", ["save_every", "keep_latest", "keep_every"])
def test_a_cadence_must_be_positive(tmp_path, field):
  with pytest.raises(UserError, match=f"checkpoint.{field} must be at least 1: got 0"):
    open_(tmp_path, **{field: 0})
