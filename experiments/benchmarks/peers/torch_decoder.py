"""A plain PyTorch decoding loop with a key-value cache, which `cached_sampling` compares with.

As a careful user would write it: the cache is allocated once and written in place, attention is
`scaled_dot_product_attention` over the slots that are filled, and nothing keeps gradients.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.benchmarks.peers import torch_dit


class Decoder(nn.Module):
  """Pre-normed layers with rotary positions, each with the keys and values of what it has seen."""

  def __init__(self, width: int, heads: int, depth: int, vocab_size: int) -> None:
    super().__init__()
    self.heads, self.depth = heads, depth
    self.embedding = nn.Embedding(vocab_size + 1, width)
    self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(2 * depth + 1))
    self.qkv = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(depth))
    self.out = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
    self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(depth))
    self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(depth))
    self.head = nn.Linear(width, vocab_size)

  def empty(self, rows: int, length: int) -> None:
    """Makes room for `length` tokens in each row."""
    head_width = self.embedding.embedding_dim // self.heads
    shape = self.depth, rows, self.heads, length, head_width
    dtype = self.embedding.weight.dtype
    self.keys, self.values = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)
    rates = 1e4 ** (-torch.arange(0, head_width, 2) / head_width)
    angles = torch.arange(length)[:, None] * rates
    self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

  def forward(self, tokens: Tensor, start: int) -> Tensor:
    """Logits `[B, n, V]` of `tokens` `[B, n]`, which see each other and all before `start`."""
    (rows, size), x = tokens.shape, self.embedding(tokens)
    end = start + size
    for layer in range(self.depth):
      h = self.qkv[layer](self.norms[2 * layer](x))
      q, k, v = h.view(rows, size, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
      self.keys[layer, :, :, start:end] = self.rotate(k, start)
      self.values[layer, :, :, start:end] = v
      seen = self.keys[layer, :, :, :end], self.values[layer, :, :, :end]
      h = functional.scaled_dot_product_attention(self.rotate(q, start), *seen)
      x = x + self.out[layer](h.transpose(1, 2).reshape(x.shape))
      h = functional.gelu(self.up[layer](self.norms[2 * layer + 1](x)), approximate="tanh")
      x = x + self.down[layer](h)
    return self.head(self.norms[-1](x))

  def rotate(self, x: Tensor, start: int) -> Tensor:
    """Rotary positions of `x` `[B, H, n, K]`, the first of which stands at `start`."""
    cos, sin = (a[start : start + x.shape[2]] for a in (self.cos, self.sin))
    return torch_dit.rotate(x, cos, sin)


def draw(logits: Tensor) -> Tensor:
  """A token for each position of `logits` `[B, n, V]`."""
  return torch.multinomial(logits.float().softmax(-1).flatten(0, 1), 1).view(logits.shape[:2])


@torch.inference_mode()
def autoregressive(decoder: Decoder, rows: int, length: int) -> Tensor:
  """Draws rows `[B, L]`, token by token."""
  decoder.empty(rows, length)
  last = torch.full((rows, 1), decoder.head.out_features)
  tokens = []
  for position in range(length):
    last = draw(decoder(last, position))
    tokens.append(last)
  return torch.cat(tokens, dim=1)


@torch.inference_mode()
def blocks(decoder: Decoder, rows: int, length: int, size: int) -> Tensor:
  """Draws rows `[B, L]` by masked diffusion in blocks of `size` tokens, in `size` steps each.

  A finished block is evaluated once more, so that later ones see its tokens.
  """
  decoder.empty(rows, length)
  mask, done = decoder.head.out_features, []
  for start in range(0, length, size):
    z = torch.full((rows, size), mask)
    for left in range(size, 0, -1):
      token = draw(decoder(z, start))
      revealed = (z == mask) & (torch.rand(z.shape) < 1 / left)
      z = torch.where(revealed, token, z)
    decoder(z, start)
    done.append(z)
  return torch.cat(done, dim=1)
