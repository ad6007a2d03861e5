"""A mask that is no token of the data: the symbol V, one more row of the network's embedding."""

from dataclasses import dataclass

from dlm_jax.processes.base import Process


@dataclass(frozen=True, kw_only=True)
class OutsideMask(Process):
  """A process whose mask is V."""

  @property
  def mask_id(self) -> int:
    return self.vocab_size

  @property
  def num_embeddings(self) -> int:
    return self.vocab_size + 1
