"""Trains a diffusion language model, or resumes it exactly where it stopped.

  python -m dlm_jax.train --config=configs/stdlib_docs.py --workdir=runs/quickstart

Fields of the config are overridden as `--config.training.steps=2000`, its argument is given as
`--config=configs/text8.py:mdlm,preset=tiny`. Started again with the same workdir, the run
resumes. It ends with exit code 0 when complete, 75 when SIGTERM or Ctrl-C stopped it after saving
(start it again to resume), 2 when the input was wrong.
"""

from absl import flags

from dlm_jax import command_line
from dlm_jax.training.run import train


def define_flags() -> None:
  command_line.define_config()
  command_line.define_cluster()
  flags.declare_key_flag("config")
  flags.DEFINE_string(
    "workdir",
    None,
    "Directory of the run: checkpoints, metrics, config. Resumed if it is there.",
    required=True,
  )
  flags.DEFINE_string(
    "profile", "", "Steps to trace into <workdir>/profile for xprof, first and last: 10:15."
  )


def main() -> int:
  return train(command_line.config(), flags.FLAGS.workdir, flags.FLAGS.profile)


if __name__ == "__main__":
  define_flags()
  command_line.run(main, stoppable=True)
