"""The rows of the table: a recipe each, with its stages, its cost, and the commands that run it.

A recipe whose config names a run (`training.weights` or `distillation.teacher`) has stages before
it: the last part of that path is the row that comes first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import jax
from ml_collections import ConfigDict

from dlm_jax import configuration
from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.data import preparation
from dlm_jax.data.preparation import DataConfig
from dlm_jax.model import from_config, parameters
from dlm_jax.model.from_config import ProcessAndNetwork
from dlm_jax.training.distillation import DistillationConfig, teacher_evaluations
from dlm_jax.training.start import require_same_network
from dlm_jax.training.throughput import PEAK_FLOPS, training_flops_per_token
from experiments.paper_tables import config

CONFIG = "experiments/paper_tables/config.py"
# Symbols of the tokenizers that would have to be fetched to be counted.
VOCABULARIES = {"gpt2": 50257, "bert-base-uncased": 30522}
ORIGINS = ("training.weights", "distillation.teacher")
MACHINES = {
  "8xH100": 8 * PEAK_FLOPS["NVIDIA H100 80GB HBM3"],
  "v5e-64": 64 * PEAK_FLOPS["TPU v5 lite"],
}
# The share of the peak that the hours count on.
UTILIZATION = 0.4


@dataclass(frozen=True)
class Cost:
  """What a stage of training takes.

  Attributes:
    parameters: of the network and of what the process learns.
    tokens: in all batches together.
    flops: of forward and backward pass, from shapes. What self-conditioning evaluates besides is
      not counted.
  """

  parameters: int
  tokens: int
  flops: float

  def hours(self, machine: str) -> float:
    """On one of `MACHINES`, at `UTILIZATION` of its peak."""
    return self.flops / (UTILIZATION * MACHINES[machine]) / 3600


@dataclass(frozen=True)
class Stage:
  """One run of training.

  Attributes:
    row: its name in the table.
    recipe: the argument of config.py.
    workdir: where it runs.
    assignments: what is set on the command line: the run that it starts from.
  """

  row: str
  recipe: str
  workdir: str
  assignments: Mapping[str, str]

  @cached_property
  def config(self) -> ConfigDict:
    """As the command line resolves it."""
    return configuration.load(f"{CONFIG}:{self.recipe}", self.assignments)

  @property
  def train(self) -> str:
    """The command that trains it, or resumes it."""
    given = "".join(f" --config.{name}={value}" for name, value in self.assignments.items())
    return (
      f"python -m dlm_jax.train --config={CONFIG}:{self.recipe} --workdir={self.workdir}{given}"
    )

  @property
  def evaluate(self) -> str:
    """The command that scores it under the protocol of its config."""
    return f"python -m dlm_jax.evaluate --workdir={self.workdir}"

  @cached_property
  def parts(self) -> ProcessAndNetwork:
    """The process and the network, for the vocabulary of the corpus."""
    return from_config.build(self.config, vocab_size(self.config))

  @cached_property
  def cost(self) -> Cost:
    """Computes nothing and reads no text."""
    made, process, network = self.config, self.parts.process, self.parts.network
    length = made.data.length
    shapes = jax.eval_shape(
      lambda key: parameters.init_params(process, network, key, rows=1, length=length),
      jax.random.key(0),
    )
    tokens = made.training.steps * made.training.batch_size * length
    flops = training_flops_per_token(
      network,
      process.pattern,
      length,
      scored=process.scored_share,
      teachers=teacher_evaluations(resolve.build(DistillationConfig, made.distillation), process),
    )
    return Cost(sum(leaf.size for leaf in jax.tree.leaves(shapes)), tokens, flops * tokens)


def names() -> dict[str, str]:
  """The recipe of each row, by its name: `bd3lm_owt_16` is `bd3lm_16,owt`."""
  return {_name(method, corpus): f"{method},{corpus}" for method, corpus in config.recipes()}


def _name(method: str, corpus: str) -> str:
  stem, number = re.fullmatch(r"(.*?)((?:_\d+)?)", method).groups()
  return f"{stem}_{corpus}{number}"


def stages(row: str, directory: str) -> list[Stage]:
  """The runs that lead to a row, in their order, each in `directory`/ROW.

  Raises:
    UserError: there is no such row, or a stage before it is no row or has another network.
  """
  require_known("row", row, names())
  recipe, workdir = names()[row], f"{directory}/{row}"
  last = Stage(row, recipe, workdir, {})
  for origin in ORIGINS:
    section, name = origin.split(".")
    path = last.config[section].get(name)
    if not path:
      continue
    first = PurePosixPath(path).name
    if first not in names() or first == row:
      raise UserError(
        f"the recipe {recipe} starts from the run {path}, and its last part is no other row of the "
        f"table: the rows are {', '.join(names())}."
      )
    before = stages(first, directory)
    last = Stage(row, recipe, workdir, {origin: f"{directory}/{first}"})
    require_same_network(before[-1].parts.network, last.parts.network, origin, first)
    return [*before, last]
  return [last]


def vocab_size(made: ConfigDict) -> int:
  """The number of symbols of a config's tokenizer, which is not fetched.

  Raises:
    UserError: it is a pretrained one that is not among `VOCABULARIES`.
  """
  name = made.data.tokenizer.get("pretrained")
  if name is not None:
    require_known("tokenizer with a known vocabulary", name, VOCABULARIES)
    return VOCABULARIES[name]
  return preparation.parts(resolve.build(DataConfig, made.data))[1].vocab_size
