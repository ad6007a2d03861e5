"""How a person has sequences drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import NonNegative, NonNegativeInt, PositiveInt, Seed, TopP


@dataclass(frozen=True, kw_only=True)
class DrawSettings:
  """How sequences are drawn. Raises `UserError` for a value that no model can honour.

  Attributes:
    num: number of sequences.
    steps: number of sampling steps. Autoregressive decoding ignores it: one evaluation a token.
    sampler: rule of a step of the reverse process, see below.
    sampler_settings: settings of this sampler alone, as in --sampler=remdm --sampler.eta=0.05; see
      below.
    label: label of the sequences, for a model of labelled text. By default none is given.
    guidance: strength of classifier-free guidance to --label. 1 is none; above 1 a text is more
      like its label than the model thinks, at two network evaluations a step.
    top_p: nucleus sampling: the smallest set of tokens whose probabilities reach it. 1 keeps
      every token.
    top_k: draw from so many most likely tokens. 0 keeps every token.
    temperature: sampling temperature; 0 takes the most likely token.
    grid: spacing of the times of the sampler, uniform or cosine.
    batch_size: sequences drawn at once. It changes no sequence.
    seed: seed of all draws. Sequence i depends on the seed and on i alone.
    trajectory: whether to show how the first sequence is refined, state by state.
  """

  num: PositiveInt = 8
  steps: PositiveInt = 64
  sampler: str = "ancestral"
  sampler_settings: Mapping[str, object] = field(default_factory=dict, metadata={"nested": True})
  label: int | None = None
  guidance: float = 1.0
  top_p: TopP = 1.0
  top_k: NonNegativeInt = 0
  temperature: NonNegative = 1.0
  grid: str = "uniform"
  batch_size: PositiveInt = 64
  seed: Seed = 0
  trajectory: bool = False

  def __post_init__(self) -> None:
    resolve.require_ranges(self, "--")
    if self.label is None and self.guidance != 1.0:
      raise UserError("--guidance needs a --label to guide to.")
    # They bring JAX, which `--help` does not wait for.
    from dlm_jax.generation.draw import sampler_of  # noqa: PLC0415
    from dlm_jax.samplers import grids  # noqa: PLC0415

    sampler_of(self.sampler, self.sampler_settings)
    grids.check(self.grid)
