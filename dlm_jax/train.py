"""Trains a diffusion language model, or resumes it exactly where it stopped.

  python -m dlm_jax.train --config=configs/stdlib_docs.py --workdir=runs/quickstart

Fields of the config are overridden as `--config.training.steps=2000`, its argument is given as
`--config=configs/text8.py:mdlm,preset=tiny`. Started again with the same workdir, the run
resumes. It ends with exit code 0 when complete, 75 when SIGTERM or Ctrl-C stopped it after saving
(start it again to resume), 2 when the input was wrong.
"""

from dlm_jax import command_line
from dlm_jax.training.training_settings import TrainSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.training.run", TrainSettings, distributed=True, stoppable=True)
