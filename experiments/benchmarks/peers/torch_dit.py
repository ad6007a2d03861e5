"""Masked diffusion with a DiT in plain PyTorch: attention of the library, one fused AdamW.

As a careful user would write it: `scaled_dot_product_attention`, `torch.compile`, cross-entropy of
the logits, an exponential moving average in place. On a GPU in bfloat16, by autocast.
"""

import copy
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.benchmarks.peers.settings import CONDITION, EMA_DECAY, LEARNING_RATE
from experiments.benchmarks.shape import Shape


class Block(nn.Module):
  """A DiT block: attention and feedforward, modulated by the condition."""

  def __init__(self, width: int, heads: int) -> None:
    super().__init__()
    self.heads = heads
    self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
    self.qkv = nn.Linear(width, 3 * width, bias=False)
    self.out = nn.Linear(width, width, bias=False)
    self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    self.modulation = nn.Linear(CONDITION, 6 * width)

  def forward(self, x: Tensor, condition: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    rows, length, width = x.shape
    parts = self.modulation(condition)[:, None].chunk(6, dim=-1)
    shift, scale, gate, shift_f, scale_f, gate_f = parts
    h = self.norms[0](x) * (1 + scale) + shift
    q, k, v = self.qkv(h).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
    h = functional.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
    x = x + gate * self.out(h.transpose(1, 2).reshape(rows, length, width))
    h = self.norms[1](x) * (1 + scale_f) + shift_f
    return x + gate_f * self.down(functional.gelu(self.up(h), approximate="tanh"))


class DiT(nn.Module):
  """Embedding, blocks, and a head of its own."""

  def __init__(self, shape: Shape) -> None:
    super().__init__()
    self.embedding = nn.Embedding(shape.vocab_size + 1, shape.width)
    self.time = nn.Sequential(nn.Linear(256, CONDITION), nn.SiLU(), nn.Linear(CONDITION, CONDITION))
    self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.depth))
    self.norm = nn.LayerNorm(shape.width, bias=False)
    self.head = nn.Linear(shape.width, shape.vocab_size)
    half = shape.width // shape.heads // 2
    rates = 1e4 ** (-torch.arange(half) / half)
    angles = torch.arange(shape.length)[:, None] * rates
    self.register_buffer("cos", angles.cos())
    self.register_buffer("sin", angles.sin())

  def forward(self, z: Tensor, t: Tensor) -> Tensor:
    index = torch.arange(128, device=t.device)
    angles = 1000 * t[:, None] * torch.exp(-math.log(1e4) * index / 128)
    condition = functional.silu(self.time(torch.cat([angles.cos(), angles.sin()], dim=-1)))
    x = self.embedding(z)
    for block in self.blocks:
      x = block(x, condition, self.cos, self.sin)
    return self.head(self.norm(x))


def start(shape: Shape) -> DiT:
  """The network, on the GPU if there is one: all that is made after it is made there."""
  torch.manual_seed(0)
  torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
  torch.set_float32_matmul_precision("high")  # of what is not rounded to 16 bits on a GPU
  return DiT(shape)


def rounded() -> torch.autocast:
  """On a GPU, products inside are in bfloat16."""
  device = torch.get_default_device().type
  return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def wait() -> None:
  """Until the GPU, if there is one, has done what it was given."""
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
  """Rotary embedding of `[B, H, L, K]`."""
  first, second = x.chunk(2, dim=-1)
  return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def training(shape: Shape, how: str) -> Callable[[int], None]:
  """Takes so many steps of training, by a network that is `eager` or `compiled`."""
  model = start(shape)
  average = copy.deepcopy(model)
  optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.0, fused=True)
  x = torch.randint(shape.vocab_size, (shape.rows, shape.length))

  def loss(x: Tensor, t: Tensor) -> Tensor:
    masked = torch.rand(x.shape) < t[:, None]
    logits = model(torch.where(masked, shape.vocab_size, x), t)
    nll = functional.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none")
    return (nll.view(x.shape) * masked / t[:, None]).mean()

  loss = torch.compile(loss) if how == "compiled" else loss

  def run(steps: int) -> None:
    for _ in range(steps):
      t = (torch.rand(1) + torch.arange(shape.rows) / shape.rows) % 1 * 0.999 + 0.001
      optimizer.zero_grad()
      with rounded():
        value = loss(x, t)
      value.backward()
      nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - EMA_DECAY)
    wait()

  return run


def sampling(shape: Shape, how: str) -> Callable[[int], None]:
  """Takes so many steps of ancestral sampling, each with a network evaluation."""
  model = start(shape).eval()
  model = torch.compile(model) if how == "compiled" else model

  @torch.no_grad()
  def run(steps: int) -> None:
    z = torch.full((shape.rows, shape.length), shape.vocab_size)
    times = torch.linspace(1, 0, steps + 1)
    for t, s in itertools.pairwise(times):
      with rounded():
        probabilities = functional.softmax(model(z, t.expand(shape.rows)).float(), dim=-1)
      gumbel = -(-torch.rand_like(probabilities).log()).log()
      drawn = (probabilities.log() + gumbel).argmax(-1)
      revealed = torch.rand(z.shape) < (t - s) / t
      z = torch.where((z == shape.vocab_size) & revealed, drawn, z)
    wait()

  return run
