"""A model of missing tokens, as a decoder sees it: masked, or trained with random tokens."""

from dataclasses import dataclass

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Full
from dlm_jax.core.types import Params
from dlm_jax.decoding.input_rows import Clock
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Process
from dlm_jax.processes.facets import HasMask, HasSigma, ReplacesByAny, RevealsOnce


@dataclass(frozen=True, kw_only=True)
class MaskedModel:
  """A model of missing tokens, as a decoder sees it.

  Attributes:
    network: with its `params`.
    mask_id: the symbol of a missing token; it is the size of the vocabulary where the noise is
      random tokens, which the network is then given in its place.
    has_noise: whether it is.
    pattern: which position sees which: `Full` or `BlockCausal`.
    clock: what the network is given as the time; None where it is not.
  """

  network: Network
  params: Params
  mask_id: int
  has_noise: bool = False
  pattern: Full | BlockCausal = FULL
  clock: Clock | None = None

  @property
  def shift(self) -> int:
    """1 where position i is predicted from the state at i - 1, as in Dream, else 0."""
    return int(self.network.label_shift)


def masked_model(process: Process, network: Network, params: Params) -> MaskedModel:
  """What a decoder needs of a model.

  Args:
    process: of masks or of random tokens, on whole rows or in blocks.
    network: that it was trained with.
    params: those of the network alone.

  Raises:
    UserError: the process has another noise, it reads from left to right, or the network is given
      the time of each block.
  """
  known = isinstance(process, RevealsOnce) or has_noise(process)
  if not known or not isinstance(process.pattern, Full | Blocks):
    raise UserError(
      "decoders are defined for processes of masks, and for those of random tokens whose network "
      f"gives logits, not for {type(process).__name__}: draw from it with dlm_jax.sample."
    )
  # Noise stands in the block at hand alone, so that one stream of tokens says what two say.
  pattern = BlockCausal(process.pattern.size) if isinstance(process.pattern, Blocks) else FULL
  if network.knows_time and pattern != FULL:
    raise UserError(
      "the network is given the time of each block, which a decoder does not have: draw from it "
      "with dlm_jax.sample."
    )
  return MaskedModel(
    network=network,
    params=params,
    mask_id=missing_id(process),
    has_noise=has_noise(process),
    pattern=pattern,
    clock=_clock(process, network.reads_sigma) if network.knows_time else None,
  )


def has_noise(process: Process) -> bool:
  """Whether the noise is random tokens, which a decoder then puts where nothing is committed."""
  return isinstance(process, ReplacesByAny)


def missing_id(process: Process) -> int:
  """The symbol of a missing token in what a decoder writes: the mask, or the size of the
  vocabulary."""
  return process.mask_id if isinstance(process, HasMask) else process.vocab_size


def _clock(process: Process, reads_sigma: bool) -> Clock:
  """The time at which so large a fraction is noise."""
  assert isinstance(process, RevealsOnce | ReplacesByAny)
  time = process.time_of_masked if isinstance(process, RevealsOnce) else process.time_of_noised
  if not reads_sigma:
    return time
  assert isinstance(process, HasSigma)  # `from_config.build` has refused any other
  sigma = process.sigma
  return lambda fraction: sigma(time(fraction))
