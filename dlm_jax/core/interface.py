"""What a process needs its network to take and to give."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NetworkInterface:
  """The form of a network's input and output, as the process states it.

  Attributes:
    columns: outputs a position: the size of the vocabulary for a process of tokens.
    num_embeddings: rows of the input embedding, the mask included where it lies outside the
      vocabulary.
    state_width: W where the state is continuous, float `[B, L, W]`; None where it is tokens.
    self_conditioned: whether the network also takes an earlier prediction `[B, L, W]` of the clean
      state.
  """

  columns: int
  num_embeddings: int
  state_width: int | None = None
  self_conditioned: bool = False
