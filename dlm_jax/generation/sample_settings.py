"""The flags of the command `sample`, and what its `--help` says of the samplers."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from dlm_jax.core import storage
from dlm_jax.core.fields import Modules
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.generation.draw_settings import DrawSettings
from dlm_jax.generation.prompt_settings import PromptSettings
from dlm_jax.model.model_settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class SampleSettings(PromptSettings, DrawSettings, ModelSettings):
  """What is drawn, from which model, and where it goes.

  Attributes:
    length: tokens of a sequence. The default is the length of training; only block diffusion can
      exceed it.
    output: file to write. NAME.jsonl gets one JSON object a sequence (of --prompts with the number
      of its prompt, from 0), with what they depend on in NAME.protocol.json; NAME.svg an animation
      of the first sequence as it is denoised.
  """

  length: PositiveInt | None = None
  output: str | None = None

  def __post_init__(self) -> None:
    ModelSettings.__post_init__(self)
    PromptSettings.__post_init__(self)
    DrawSettings.__post_init__(self)
    if self.output is not None:
      storage.require_output(self.output, self.prompt_file, self.infill_file, self.prompts)
    if self.is_animation:
      object.__setattr__(self, "trajectory", True)

  @property
  def path(self) -> Path | None:
    """Of the output."""
    return None if self.output is None else storage.expand(self.output)

  @property
  def is_animation(self) -> bool:
    """Whether the output is an SVG."""
    return self.output is not None and self.output.endswith(".svg")


def samplers_text() -> str:
  """The samplers and the settings of each, with their defaults, for `--help`."""
  lines = ["Samplers (--sampler=NAME) and their own settings (--sampler.SETTING=VALUE):"]
  samplers = Modules("dlm_jax.samplers")
  for name in samplers.names():
    docstring, settings = samplers.read_source(name)
    lines.append(f"  {name}: {docstring.splitlines()[0]}")
    for setting in settings:
      text = f"{setting.name}={setting.default}: {setting.sentence}"
      lines += textwrap.wrap(text, 96, initial_indent=" " * 6, subsequent_indent=" " * 10)
  return "\n".join(lines)
