"""Set before JAX starts: the CPU as eight devices, and compiled programs kept between runs."""

import os
from pathlib import Path

# Most of the time is compiling small programs: the first level of optimization saves a fifth.
# Eight devices share few cores: a collective may have to wait for its turn far longer than XLA's
# default of 40 s, after which it ends the process.
FLAGS = (
  "--xla_backend_optimization_level=1",
  "--xla_force_host_platform_device_count=8",
  "--xla_cpu_collective_call_warn_stuck_timeout_seconds=300",
  "--xla_cpu_collective_call_terminate_timeout_seconds=600",
)

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(FLAGS)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parent.parent / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

# Files whose tests start other Python processes, as launchers and clusters do.
STARTING_PROCESSES = {
  "tests/distributed/test_cluster.py",
  "tests/launch/test_launch.py",
  "tests/test_chaos.py",
  "tests/test_compile_check.py",
  "tests/test_end_to_end.py",
}


def pytest_collection_modifyitems(items):
  """Marks the tests that `launch/test.sh --fast` leaves out because they start processes."""
  for item in items:
    if item.path.relative_to(item.config.rootpath).as_posix() in STARTING_PROCESSES:
      item.add_marker("processes")
