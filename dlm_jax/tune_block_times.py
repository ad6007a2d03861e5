"""Proposes the interval of times that block diffusion trains on, `process.clip`.

  python -m dlm_jax.tune_block_times --workdir=W [--batches=100]

Extreme times add variance to the gradient and teach little (BD3-LM, Arriola et al. 2025, section
5.2). The command prints the variance of the loss of a training batch under each interval of a grid,
at the weights of the run W, names that with the smallest and writes all to W/clip-step*.json.
"""

from dlm_jax import command_line
from dlm_jax.evaluation.evaluation_settings import BlockTimesSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.evaluation.block_times", BlockTimesSettings, distributed=True)
