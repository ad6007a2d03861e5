"""Path-star graphs: find the one path that leads from the centre to the goal.

Bachmann and Nagarajan 2024 (The pitfalls of next-token prediction, section 4): `arms` paths begin
at a centre, and the goal is the end of one. Read from the centre, the first step cannot be told but
by following a path to its end; read from the goal, every step is forced. A row is

  ab,cd,..;sg=s..g

the edges in random order, centre and goal, and the answer: the path. A node is one character.
"""

import itertools
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import Range
from dlm_jax.data.corpora.base import Pair
from dlm_jax.data.corpora.generated import Generated, Puzzle

NODES = string.ascii_letters + string.digits


@dataclass(frozen=True, kw_only=True)
class PathStar(Generated):
  """Graphs whose nodes are drawn from `nodes` characters.

  Attributes:
    arms: paths from the centre.
    path_length: nodes of a path, with the centre.
    nodes: characters that a node may be.
    reverse: whether the answer is written from the goal to the centre.
  """

  arms: Annotated[int, Range(at_least=2)] = 3
  path_length: Annotated[int, Range(at_least=2)] = 5
  nodes: Annotated[int, Range(at_least=3, at_most=len(NODES))] = 30
  reverse: bool = False

  def __post_init__(self) -> None:
    check_nodes(1 + self.arms * (self.path_length - 1), self.nodes)

  def draw(self) -> Iterator[Puzzle]:
    rng, steps = random.Random(self.seed), self.path_length - 1
    while True:
      centre, *others = rng.sample(NODES[: self.nodes], 1 + self.arms * steps)
      arms = [[centre, *others[i * steps : (i + 1) * steps]] for i in range(self.arms)]
      edges = [a + b for arm in arms for a, b in itertools.pairwise(arm)]
      yield puzzle(rng, edges, arms[0], self.reverse)


def make(**fields: object) -> PathStar:
  return resolve.build(PathStar, fields)


def check_nodes(needed: int, nodes: int) -> None:
  """Raises `UserError` unless a graph finds its nodes in the vocabulary."""
  if needed > nodes:
    most = len(NODES)
    way = (
      f"set it to {needed} or more (at most {most}), or"
      if needed <= most
      else f"at most {most} can be,"
    )
    raise UserError(
      f"a graph has {needed} nodes, and corpus.nodes is {nodes}: {way} shorten the paths."
    )


def puzzle(rng: random.Random, edges: Sequence[str], path: Sequence[str], reverse: bool) -> Puzzle:
  """The puzzle of a graph, whose edges are put in random order, and of the path that answers it."""
  shuffled = ",".join(rng.sample(edges, len(edges)))
  prompt = f"{shuffled};{path[0]}{path[-1]}="
  return Puzzle(Pair(prompt, "".join(reversed(path) if reverse else path)), group=prompt)
