"""Planning with a distractor: a path that forks, where only one side leads to the goal.

The minimal planning task of Ye et al. 2024 (Beyond autoregression, section 3): at a node somewhere
on the path another one leaves it, as long as what is left. The more steps are left at the fork, the
further ahead a model must look. A row is that of `path_star`.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Range
from dlm_jax.data.corpora.generated import Generated, Puzzle
from dlm_jax.data.corpora.path_star import NODES, check_nodes, puzzle


@dataclass(frozen=True, kw_only=True)
class Planning(Generated):
  """Graphs whose nodes are drawn from `nodes` characters.

  Attributes:
    path_length: nodes of the path that is the answer.
    nodes: characters that a node may be.
    reverse: whether the answer is written from the goal to the start.
  """

  path_length: Annotated[int, Range(at_least=2)] = 6
  nodes: Annotated[int, Range(at_least=3, at_most=len(NODES))] = 30
  reverse: bool = False

  def __post_init__(self) -> None:
    check_nodes(2 * self.path_length - 1, self.nodes)

  def draw(self) -> Iterator[Puzzle]:
    rng, length = random.Random(self.seed), self.path_length
    while True:
      nodes = rng.sample(NODES[: self.nodes], 2 * length - 1)
      path, fork = nodes[:length], rng.randrange(length - 1)
      other = [path[fork], *nodes[length : 2 * length - 1 - fork]]
      edges = [a + b for arm in (path, other) for a, b in itertools.pairwise(arm)]
      yield puzzle(rng, edges, path, self.reverse)


def make(**fields: object) -> Planning:
  return resolve.build(Planning, fields)
