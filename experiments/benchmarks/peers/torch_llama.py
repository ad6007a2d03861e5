"""A LLaMA decoder with a cache in plain PyTorch, which `decode` compares with.

As a careful user would write it: the cache is allocated once and written in place, and
attention is `scaled_dot_product_attention` over the slots that are seen.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.benchmarks.decode_shapes import DecoderShape
from experiments.benchmarks.peers import torch_dit


class Layer(nn.Module):
  """Attention and SwiGLU, each behind RMSNorm."""

  def __init__(self, width: int, hidden: int, heads: tuple[int, int, int], bias: bool) -> None:
    super().__init__()
    self.heads, self.groups, self.head_width = heads
    self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(2))
    sizes = [count * self.head_width for count in (self.heads, self.groups, self.groups)]
    self.query, self.key, self.value = (nn.Linear(width, size, bias=bias) for size in sizes)
    self.out = nn.Linear(sizes[0], width, bias=False)
    self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
    self.down = nn.Linear(hidden, width, bias=False)

  def heads_of(self, x: Tensor, count: int) -> Tensor:
    """`[B, n, heads K]` as `[B, heads, n, K]`."""
    return x.view(*x.shape[:2], count, self.head_width).transpose(1, 2)


class Decoder(nn.Module):
  """The network, its cache `[layers, B, G, S, K]` and what it keeps of rotary positions."""

  def __init__(self, shape: DecoderShape) -> None:
    super().__init__()
    c = shape.network()
    self.groups, self.head_width, self.base = c.key_heads, c.size_of_head, c.rotary_base
    self.embedding = nn.Embedding(shape.vocab_size, c.width)
    heads = c.heads, c.key_heads, c.size_of_head
    self.layers = nn.ModuleList(
      Layer(c.width, c.hidden_width, heads, c.qkv_bias) for _ in range(c.depth)
    )
    norms = nn.RMSNorm(c.size_of_head, eps=1e-5) if c.qk_norm else nn.Identity()
    self.query_norm, self.key_norm, self.norm = norms, norms, nn.RMSNorm(c.width, eps=1e-5)
    self.head = nn.Linear(c.width, shape.vocab_size, bias=False)

  def empty(self, rows: int, slots: int) -> None:
    """Makes room for so many tokens in each row."""
    like = self.head.weight
    shape = len(self.layers), rows, self.groups, slots, self.head_width
    self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
    rates = self.base ** (
      -torch.arange(0, self.head_width, 2, device=like.device) / self.head_width
    )
    angles = torch.arange(slots, device=like.device)[:, None] * rates
    self.cos, self.sin = angles.cos().to(like.dtype), angles.sin().to(like.dtype)

  def forward(
    self, tokens: Tensor, start: int, end: int, *, mask: Tensor | None = None, kept: bool = True
  ) -> Tensor:
    """The hidden states `[B, n, D]` of `tokens` `[B, n]`, the first of which stands at `start`.

    Each sees all before `end`, or what the `mask` `[n, end]` says. Keys and values are written to
    the cache where they are `kept`; else `tokens` are the whole row.
    """
    x, stop = self.embedding(tokens), start + tokens.shape[1]
    for index, layer in enumerate(self.layers):
      h = layer.norms[0](x)
      q = self.rotate(self.query_norm(layer.heads_of(layer.query(h), layer.heads)), start)
      k = self.rotate(self.key_norm(layer.heads_of(layer.key(h), layer.groups)), start)
      v = layer.heads_of(layer.value(h), layer.groups)
      if kept:
        self.keys[index, :, :, start:stop], self.values[index, :, :, start:stop] = k, v
        k, v = self.keys[index, :, :, :end], self.values[index, :, :, :end]
      grouped = layer.groups != layer.heads
      h = functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=grouped)
      x = x + layer.out(h.transpose(1, 2).flatten(2))
      h = layer.norms[1](x)
      x = x + layer.down(functional.silu(layer.gate(h)) * layer.up(h))
    return self.norm(x)

  def rotate(self, x: Tensor, start: int) -> Tensor:
    """Rotary positions of `x` `[B, heads, n, K]`, the first of which stands at `start`."""
    cos, sin = (a[start : start + x.shape[2]] for a in (self.cos, self.sin))
    return torch_dit.rotate(x, cos, sin)
