"""How a command reads its flags, and reports a user's mistake: one sentence and exit code 2."""

import sys
from collections.abc import Callable

import ml_collections
from absl import app, flags, logging

from dlm_jax import config_line
from dlm_jax.core.errors import UserError
from dlm_jax.distributed import cluster

MISTAKE = 2


def run(main: Callable[[], int | None], *, stoppable: bool = False) -> None:
  """Parses the flags and ends the process with what `main` returns.

  With the flags of `define_cluster` it first finds the other processes, and last waits for them.
  Libraries are heard from warnings on, unless `--verbosity` asks for more.

  Args:
    main: what the command does.
    stoppable: see `processes.start`.
  """

  def reported(_: list[str]) -> int | None:
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)
    try:
      if "coordinator" not in flags.FLAGS:
        return main()
      place = (flags.FLAGS[name].value for name in ("coordinator", "num_processes", "process_id"))
      cluster.start(*place, stoppable=stoppable)
      code = main()
      cluster.barrier("the end")
      return code
    except UserError as error:
      return _report(error)

  app.run(reported, flags_parser=_parse)


def define_config() -> None:
  """Defines `--config`, whose fields are set as `--config.a.b=value`."""
  config_line.define()
  for name in ("config", "config_field", "show_config"):
    flags.declare_key_flag(name)


def define_cluster() -> None:
  """Defines where the processes of a run meet, for when the environment does not say."""
  flags.DEFINE_string("coordinator", None, "host:port of process 0, where nothing says it.")
  flags.DEFINE_integer("num_processes", None, "How many processes there are, with --coordinator.")
  flags.DEFINE_integer("process_id", None, "Which of them this is, from 0, with --coordinator.")


def config() -> ml_collections.ConfigDict:
  """The config that the flags describe. Raises `UserError` when it or its file is missing."""
  return config_line.from_flags()


def _parse(argv: list[str]) -> list[str]:
  argv = config_line.rewrite(argv)
  try:
    if config_line.is_shown(argv):
      config_line.show(argv)
      sys.exit(0)
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    sys.exit(_report(str(error).strip().splitlines()[-1].strip()))
  except UserError as error:
    sys.exit(_report(error))
  if len(rest) > 1:
    sys.exit(_report(f"unknown argument {rest[1]!r}: every argument is a flag, see --help."))
  return rest


def _report(sentence: object) -> int:
  print(f"error: {sentence}", file=sys.stderr)
  return MISTAKE
