"""The networks that `decode` measures, and what one of their passes costs at least.

A pass reads all weights and the keys and values that it attends to once, and multiplies every
position with all weights: the larger of the two times is its roofline.
"""

from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp

from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.types import Fields, Params
from dlm_jax.networks import llama
from dlm_jax.networks.base import Inputs
from dlm_jax.networks.llama import Llama


@dataclass(frozen=True, kw_only=True, eq=False)
class DecoderShape:
  """A network by its shape, with weights that are drawn.

  Attributes:
    vocab_size: V; the last token is the mask.
    fields: of `llama.make`.
    label_shift: whether a position is predicted from the state before it.
  """

  vocab_size: int
  fields: Fields
  label_shift: bool = False

  @property
  def mask_id(self) -> int:
    return self.vocab_size - 1

  def network(self, *, causal: bool = False) -> Llama:
    """The network; one that reads from left to right has no shift of its own."""
    interface = NetworkInterface(columns=self.vocab_size, num_embeddings=self.vocab_size)
    shift = self.label_shift and not causal
    return llama.make(interface=interface, dropout=0.0, label_shift=shift, **self.fields)

  def params(self) -> Params:
    """Parameters that are drawn, in the compute dtype, those that training starts at zero too."""
    network = self.network()

    def draw(key: jax.Array) -> Params:
      start, *_ = keys = jax.random.split(key)
      drawn = network.init(start, Inputs(tokens=jnp.zeros((1, 1), jnp.int32), time=jnp.zeros(1)))
      drawn["head_kernel"] = 0.02 * jax.random.normal(keys[1], drawn["head_kernel"].shape)
      return cast(Params, jax.tree.map(lambda a: a.astype(network.compute_dtype), drawn))

    return jax.jit(draw)(jax.random.key(0))


@dataclass(frozen=True)
class Pass:
  """An evaluation of the network at some positions of each row.

  Attributes:
    start: the first slot that is evaluated.
    queries: how many are.
    keys: slots that they attend to, from the first on.
    scored: positions whose logits are computed.
  """

  start: int
  queries: int
  keys: int
  scored: int

  def flops(self, network: Llama, rows: int) -> float:
    """Of a batch of `rows`: two for each multiplication."""
    pairs = 2 * self.keys * network.heads * network.size_of_head * network.depth
    of_head = self.scored * network.width * network.vocab_size
    return 2.0 * rows * (self.queries * (network.active_weights + pairs) + of_head)

  def bytes(self, network: Llama, rows: int) -> float:
    """Of weights, and of the keys and values of a batch of `rows`."""
    numbers = network.active_weights
    numbers += network.width * network.vocab_size if self.scored else 0
    numbers += 2 * rows * self.keys * network.key_heads * network.size_of_head * network.depth
    return float(numbers * network.compute_dtype.itemsize)


SHAPES = {
  "cpu_25m": DecoderShape(
    vocab_size=6144,
    fields={"width": 512, "heads": 8, "depth": 6, "feedforward_width": 1344},
  ),
  "llada_8b": DecoderShape(
    vocab_size=126464,
    fields={
      "width": 4096,
      "heads": 32,
      "depth": 32,
      "feedforward_width": 12288,
      "rotary_base": 5e5,
    },
  ),
  "dream_7b": DecoderShape(
    vocab_size=152064,
    label_shift=True,
    fields={
      "width": 3584,
      "heads": 28,
      "kv_heads": 4,
      "depth": 28,
      "feedforward_width": 18944,
      "rotary_base": 1e6,
      "qkv_bias": True,
    },
  ),
  "sdar_4b": DecoderShape(
    vocab_size=151936,
    fields={
      "width": 2560,
      "heads": 32,
      "kv_heads": 8,
      "head_width": 128,
      "depth": 36,
      "feedforward_width": 9728,
      "rotary_base": 1e6,
      "qk_norm": True,
    },
  ),
}
