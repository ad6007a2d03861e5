"""Set before JAX starts: the CPU as eight devices, and compiled programs kept between runs."""

import os
from pathlib import Path

import pytest

# Most of the time is compiling small programs: without the newest code generator, in one piece each
# and at the first level of optimization, that takes half as long.
# Eight devices share few cores: a collective may have to wait for its turn far longer than XLA's
# default of 40 s, after which it ends the process.
FLAGS = (
  "--xla_backend_optimization_level=1",
  "--xla_cpu_use_fusion_emitters=false",
  "--xla_cpu_parallel_codegen_split_count=1",
  "--xla_force_host_platform_device_count=8",
  "--xla_cpu_collective_call_warn_stuck_timeout_seconds=300",
  "--xla_cpu_collective_call_terminate_timeout_seconds=600",
)
# Compiled programs are kept outside of the clone: a fresh one finds those of the last.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlm_jax" / "tests"

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(FLAGS)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# Files whose tests start other Python processes, as launchers and clusters do.
STARTING_PROCESSES = {
  "tests/distributed/test_cluster.py",
  "tests/launch/test_launch.py",
  "tests/test_chaos.py",
  "tests/test_compile_check.py",
  "tests/test_end_to_end.py",
}

# Files and folders whose tests compile for more than ten seconds in all.
COMPILING = (
  "tests/contract/test_networks.py",
  "tests/contract/test_processes.py",
  "tests/core/test_storage.py",
  "tests/decoding/",
  "tests/evaluation/",
  "tests/generation/test_generate.py",
  "tests/model/",
  "tests/networks/",
  "tests/processes/",
  "tests/runs/test_checkpoint.py",
  "tests/samplers/",
  "tests/schedules/test_gamma_schedules.py",
  "tests/test_entry_points.py",
  "tests/test_labels.py",
  "tests/test_train.py",
  "tests/training/",
)


def pytest_collection_modifyitems(items):
  """Marks the tests that `launch/test.sh --fast` leaves out."""
  for item in items:
    path = item.path.relative_to(item.config.rootpath).as_posix()
    if path in STARTING_PROCESSES:
      item.add_marker("processes")
    if path.startswith(COMPILING):
      item.add_marker("slow")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """A directory for the prepared data of all runs of a file."""
  return tmp_path_factory.mktemp("data")
