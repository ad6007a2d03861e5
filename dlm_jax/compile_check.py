"""Compiles the training step of a config for devices that need not be here: what does it take?

  python -m dlm_jax.compile_check --topology=v5e-256 \\
    --config=configs/openwebtext_at_scale.py:absorbing,preset=7b

Prints the memory of a device, the collectives and their dtypes, and how long compiling took. The
topology is a number of TPU chips (`v5e-256`, `v6e-64`, `v5p-128`; needs the extra `tpu`), of CPU
devices (`cpu:8`), or `here`. No data is prepared: the vocabulary is that of the config's tokenizer,
or `--vocab_size` where that tokenizer would have to be fetched first.
"""

from dataclasses import dataclass

import ml_collections
from rich.console import Console

from dlm_jax import command_line
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.data import preparation
from dlm_jax.distributed import ahead
from dlm_jax.training.compilation import compile_ahead, show


@dataclass(frozen=True, kw_only=True)
class CompileSettings:
  """What is compiled, and for which devices.

  Attributes:
    config: file in configs/, its method and its arguments; a field is set by
      --config.<field>=<value>.
    topology: devices to compile for: v5e-256 (TPU chips), cpu:8 (CPU devices), or here.
    vocab_size: number of symbols of the data. The default is that of the config's tokenizer.
  """

  config: ml_collections.ConfigDict
  topology: str = "here"
  vocab_size: PositiveInt | None = None


def main(settings: CompileSettings) -> None:
  topology = ahead.find(settings.topology)
  data = settings.config.data
  vocab_size = settings.vocab_size or preparation.fitted_tokenizer(data).vocab_size
  show(Console(), compile_ahead(settings.config, topology, vocab_size))


if __name__ == "__main__":
  command_line.run(main, CompileSettings)
