"""The flags of the commands `train` and `compile_check`."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from dlm_jax.core.ranges import PositiveInt


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


@dataclass(frozen=True, kw_only=True)
class CompileSettings:
  """What is compiled, and for which devices.

  Attributes:
    config: file in configs/, its method and its arguments; a field is set by
      --config.<field>=<value>.
    topology: devices to compile for: v5e-256 (TPU chips), cpu:8 (CPU devices), or here.
    vocab_size: number of symbols of the data. The default is that of the config's tokenizer.
  """

  config: ConfigDict
  topology: str = "here"
  vocab_size: PositiveInt | None = None
