"""The processes of a run: how they find each other, wait for each other and agree.

They meet at a coordinator, a small server inside process 0, which also notices when one of them has
died. Waiting and agreeing here goes through it and not through the devices: it has time-outs, and
names the process that did not come. Where no runtime was started, as in a notebook, there is one
process and nothing to wait for.
"""

import itertools
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import jax
from jax._src import distributed  # JAX shows neither its barriers nor its key-value store

from dlm_jax.core.errors import UserError
from dlm_jax.core.exit_codes import LOST
from dlm_jax.core.types import PyTree

T = TypeVar("T")

# Seconds: to find each other, as machines of a cluster start at different moments; until a silent
# process counts as dead; to end together, and how long the first to fail waits for the others.
_CONNECT, _HEARTBEAT, _SHUTDOWN = 600, 20, 10
# Seconds to wait for processes that do the same, and for what one of them does for all.
TOGETHER, LONG = 300, 24 * 3600
# The first process says who was missing: what the others wait longer.
_GRACE = 30

# Each meeting has a number, the same everywhere since all processes do the same in the same order.
_meetings = itertools.count()


def start(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  stoppable: bool,
) -> None:
  """Starts JAX's distributed runtime, before anything else touches a device.

  TPU VMs, TPUs on GKE, Slurm and Open MPI are recognised. Elsewhere a run is of one process, which
  is its own coordinator, so that it can be stopped and saved like any other.

  Args:
    coordinator: `host:port` of process 0, instead of what the environment says.
    num_processes, process_id: how many there are, and which one this is. All three or none.
    stoppable: this program heeds SIGTERM through `training.preemption`; otherwise SIGTERM ends it.

  Raises:
    UserError: some of the three are given, or the processes did not find each other.
  """
  explicit = (coordinator, num_processes, process_id)
  if any(value is None for value in explicit) and explicit != (None, None, None):
    raise UserError(
      "--coordinator, --num_processes and --process_id go together: give all three, or none to "
      "have them found."
    )
  if coordinator is not None:
    _require_place(coordinator, num_processes, process_id)
  try:
    if coordinator is not None:
      _initialize(coordinator, num_processes, process_id)
    elif not _initialize_as_found():
      # With a runtime JAX would have the CPU devices of one process talk through sockets.
      jax.config.update("jax_cpu_collectives_implementation", None)
      _initialize(f"localhost:{_free_port()}", 1, 0)
  except (jax.errors.JaxRuntimeError, RuntimeError) as error:
    raise UserError(
      f"the processes did not find each other within {_CONNECT} s: see that all were started, with "
      f"the same coordinator, and can reach it ({str(error).splitlines()[0]})."
    ) from error
  if not stoppable:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _require_place(coordinator: str, num_processes: int, process_id: int) -> None:
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdigit():
    raise UserError(f"--coordinator must be host:port, got {coordinator!r}.")
  if not 0 <= process_id < num_processes:
    raise UserError(f"--process_id {process_id} is none of 0..{num_processes - 1}.")


def _initialize_as_found() -> bool:
  """Starts in the cluster that JAX recognises; returns False where it recognises none."""
  try:
    _initialize()
  except ValueError as error:
    if "coordinator_address should be defined" not in str(error):
      raise
    return False
  return True


def _initialize(
  coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
  # A coordinator that is only for this host listens on this host alone.
  local = coordinator is not None and coordinator.rpartition(":")[0] == "localhost"
  jax.distributed.initialize(
    coordinator,
    num_processes,
    process_id,
    cluster_detection_method=None if coordinator is None else "deactivate",
    coordinator_bind_address=coordinator if local else None,
    initialization_timeout=_CONNECT,
    heartbeat_timeout_seconds=_HEARTBEAT,
    shutdown_timeout_seconds=_SHUTDOWN,
  )


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def started() -> bool:
  """Whether the runtime is up, of however many processes."""
  return distributed.global_state.client is not None


def index() -> int:
  """Which process this is. Unlike `jax.process_index()`, starts no backend."""
  return distributed.global_state.process_id


def count() -> int:
  """How many processes there are."""
  return distributed.global_state.num_processes or 1


def say(text: str) -> None:
  """Prints on the first process."""
  if index() == 0:
    print(text, flush=True)


def barrier(name: str, seconds: float = TOGETHER) -> None:
  """Returns when all processes are here.

  Raises:
    UserError: one did not come in time.
  """
  _gather("", name, seconds)


def on_first(action: Callable[[], T], name: str, seconds: float = TOGETHER) -> T | None:
  """What `action` returns on process 0, None elsewhere: the others wait for its end.

  Raises:
    UserError: on all processes, with the same sentence, where `action` raises it on process 0; on
      the others, where it raises anything else or does not end in time.
  """
  if index() != 0:
    outcome = json.loads(_from_first(None, name, seconds))
    if outcome:
      raise UserError(outcome)
    return None
  try:
    result = action()
  except UserError as error:
    _from_first(json.dumps(str(error)), name, seconds)
    raise
  except BaseException as error:
    failure = f"process 0 failed at {name}: {type(error).__name__}: {error}"
    _from_first(json.dumps(failure), name, seconds)
    raise
  _from_first(json.dumps(""), name, seconds)
  return result


def require_same(facts: Mapping[str, object], name: str) -> None:
  """Makes sure that all processes run the same thing.

  Args:
    facts: values by name, of this process.
    name: of the meeting, for errors.

  Raises:
    UserError: on all processes: what differs, and on which of them.
  """
  mine = {key: str(value) for key, value in facts.items()}
  first = json.loads(_from_first(json.dumps(mine), name, TOGETHER))
  differences = [
    f"{key} is {mine.get(key)} on process {index()} and {first.get(key)} on process 0"
    for key in sorted(mine.keys() | first.keys())
    if mine.get(key) != first.get(key)
  ]
  found = [text for text in _gather("; ".join(differences[:3]), name, TOGETHER) if text]
  if found:
    more = f"; and so on for {len(found) - 1} more processes" if len(found) > 1 else ""
    raise UserError(
      f"the processes of this run disagree: {found[0]}{more}. Start all of them with the same "
      "command, code, data and devices."
    )


def compile_together(function: jax.stages.Wrapped, *args: PyTree) -> Callable[..., PyTree]:
  """`function`, which is under `jax.jit`, compiled for `args` by all processes when it returns.

  Collectives between CPUs give up after half a minute: none may begin while one still compiles.
  """
  if count() == 1:
    return function
  compiled = function.lower(*args).compile()
  barrier("compiling", LONG)
  return compiled


@contextmanager
def lost_peers_end_this() -> Iterator[None]:
  """Ends this process at once, with exit code `LOST`, when a collective fails inside.

  At once, because leaving in order would wait for a process that is no more.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
      raise
    traceback.print_exc()
    sys.stdout.flush()
    print(
      f"error: process {index()} of {count()} cannot go on: a collective with the others failed, "
      "most likely because one of them has died (see its log). Start all of them again to resume "
      f"from the last checkpoint (exit code {LOST}).",
      file=sys.stderr,
      flush=True,
    )
    os._exit(LOST)


def _from_first(text: str | None, name: str, seconds: float) -> str:
  """The text of process 0, on all processes."""
  if count() == 1:
    return text
  key = f"dlm_jax/{next(_meetings)}/{name}"
  client = distributed.global_state.client
  if index() == 0:
    client.key_value_set(key, text)
    return text
  return _get(key, name, 0, seconds + _GRACE)


def _gather(text: str, name: str, seconds: float) -> list[str]:
  """The texts of all processes, on all processes, through the first one."""
  if count() == 1:
    return [text]
  key = f"dlm_jax/{next(_meetings)}/{name}"
  if index() != 0:
    distributed.global_state.client.key_value_set(f"{key}/{index()}", text)
    return json.loads(_from_first(None, name, seconds))
  others = [_get(f"{key}/{i}", name, i, seconds) for i in range(1, count())]
  return json.loads(_from_first(json.dumps([text, *others]), name, seconds))


def _get(key: str, name: str, process: int, seconds: float) -> str:
  client = distributed.global_state.client
  try:
    return client.blocking_key_value_get(key, int(1000 * seconds))
  except jax.errors.JaxRuntimeError as error:
    if "DEADLINE_EXCEEDED" not in str(error):
      raise
    raise UserError(
      f"process {process} did not come to {name!r} within {seconds:.0f} s: see its log."
    ) from None
