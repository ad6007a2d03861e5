"""Trains a diffusion language model, or resumes it exactly where it stopped.

  python -m dlm_jax.train --config=configs/stdlib_docs.py --workdir=runs/quickstart

Fields of the config are overridden as `--config.training.steps=2000`, its argument is given as
`--config=configs/text8.py:mdlm,preset=tiny`. Started again with the same workdir, the run
resumes. It ends with exit code 0 when complete, 75 when SIGTERM or Ctrl-C stopped it after saving
(start it again to resume), 2 when the input was wrong.
"""

from dataclasses import dataclass

from ml_collections import ConfigDict

from dlm_jax import command_line
from dlm_jax.training.run import train


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
  """What is trained, and where.

  Attributes:
    config: file in configs/, its method and its arguments, as in
      configs/text8.py:mdlm,preset=tiny. Any field of any part is set by
      --config.<field>=<value>, such as --config.process.name=duo.
    workdir: directory of the run: checkpoints, metrics, config. A run that is there is resumed.
    profile: first and last step to trace into <workdir>/profile for xprof, as in 10:15. The default
      is no trace.
  """

  config: ConfigDict
  workdir: str
  profile: str = ""


def main(settings: TrainSettings) -> int:
  return train(settings.config, settings.workdir, settings.profile)


if __name__ == "__main__":
  command_line.run(main, TrainSettings, distributed=True, stoppable=True)
