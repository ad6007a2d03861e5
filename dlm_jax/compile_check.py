"""Compiles the training step of a config for devices that need not be here: what does it take?

  python -m dlm_jax.compile_check --topology=v5e-256 \\
    --config=configs/openwebtext_at_scale.py:absorbing,preset=7b

Prints the memory of a device, the collectives and their dtypes, and how long compiling took. The
topology is a number of TPU chips (`v5e-256`, `v6e-64`, `v5p-128`; needs the extra `tpu`), of CPU
devices (`cpu:8`), or `here`. No data is prepared: the vocabulary is that of the config's tokenizer,
or `--vocab_size` where that tokenizer would have to be fetched first.
"""

from dlm_jax import command_line
from dlm_jax.training.training_settings import CompileSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.training.compilation", CompileSettings)
