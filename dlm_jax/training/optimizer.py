"""The optimizer: AdamW or Muon behind a warmed-up, decayed learning rate and a clipped gradient."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import optax
from jax import Array
from jax.sharding import PartitionSpec
from jax.tree_util import KeyPath
from optax.contrib import MuonDimensionNumbers, muon

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import Fraction, NonNegative, NonNegativeInt, Positive, Probability
from dlm_jax.core.types import Params, PyTree
from dlm_jax.distributed.sharding import Rules, path_name
from dlm_jax.training.clipping import clip_by_quantile

MatrixAxes = Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]]

# The optimizer's own arrays, which follow no parameter: Muon's Newton-Schulz coefficients, and the
# norms that the gradient is clipped by.
SHARDING_RULES: Rules = ((r"ns_coeffs$", PartitionSpec()), (r"recent_norms$", PartitionSpec()))

# Where the parameters hold what has a learning rate of its own: a learned noise schedule, and the
# embeddings of a continuous process.
PLACES = {"schedule": "process/schedule/", "embeddings": "process/embeddings"}

CHOICES = {
  "name": ("adamw", "muon"),
  "decay": ("constant", "cosine", "linear"),
  "decay_weights_of": ("matrices", "all"),
}


@dataclass(frozen=True)
class OptimizerConfig:
  """Fields of `config.optimizer`; the defaults are the small recipe of the papers.

  Attributes:
    name: `adamw`, or `muon`: hidden matrices by Muon, all else (embedding, head, norms, biases,
      modulations) by AdamW.
    learning_rate: peak.
    matrix_learning_rate: peak for the matrices under Muon; updates are scaled to the size that
      Adam's have (root mean square 0.2), so that both rates live on one scale.
    warmup_steps: linear from 0.
    decay: after the warmup: `constant`, or `cosine` or `linear` down to `final_fraction` of the
      peak at the last step of training.
    beta1, beta2, epsilon: of Adam.
    momentum: of Muon (Nesterov).
    weight_decay: decoupled: an update shrinks a weight by its learning rate times this.
    decay_weights_of: `matrices` and embeddings, so that norms and biases are not shrunk, or `all`
      that the network has.
    clip: largest global norm of the gradient; 0 does not clip.
    clip_quantile: the gradient is clipped at this quantile of its latest 1000 norms, in the place
      of `clip`; 0 does not.
    embedding_learning_rate: peak for the embeddings that a continuous process learns: Adam, without
      weight decay; None is that of the network, with it.
    schedule_learning_rate: peak for a learned noise schedule: Adam, outside the clipping.
    schedule_weight_decay: of a learned noise schedule.
  """

  name: str = "adamw"
  learning_rate: NonNegative = 3e-4
  matrix_learning_rate: NonNegative = 3e-3
  warmup_steps: NonNegativeInt = 2500
  decay: str = "constant"
  final_fraction: Probability = 0.0
  beta1: Fraction = 0.9
  beta2: Fraction = 0.999
  epsilon: Positive = 1e-8
  momentum: Fraction = 0.95
  weight_decay: NonNegative = 0.0
  decay_weights_of: str = "matrices"
  clip: NonNegative = 1.0
  clip_quantile: Fraction = 0.0
  embedding_learning_rate: NonNegative | None = None
  schedule_learning_rate: NonNegative = 1e-2
  schedule_weight_decay: NonNegative = 0.0

  def __post_init__(self) -> None:
    for field, choices in CHOICES.items():
      require_known(f"optimizer.{field}", getattr(self, field), choices)
    if self.clip and self.clip_quantile:
      raise UserError(
        f"optimizer.clip is {self.clip} and optimizer.clip_quantile {self.clip_quantile}, and a "
        "gradient is clipped once: set one of them to 0."
      )


def learning_rate(config: OptimizerConfig, peak: float, steps: int) -> optax.Schedule:
  """The learning rate by step: linear warmup to `peak`, then the decay, over `steps` in all."""
  final = peak * config.final_fraction
  rest = max(steps - config.warmup_steps, 1)
  after = {
    "constant": lambda: optax.constant_schedule(peak),
    "cosine": lambda: optax.cosine_decay_schedule(peak, rest, alpha=config.final_fraction),
    "linear": lambda: optax.linear_schedule(peak, final, rest),
  }[config.decay]()
  warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
  # Step 0 is the first update: it must not be lost to a rate of exactly 0.
  joined = optax.join_schedules([warmup, after], [config.warmup_steps])
  return lambda count: joined(count + 1)


def decayed(params: Params) -> PyTree:
  """True for what `decay_weights_of` "matrices" shrinks: all but norm scales and biases."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: not re.search(r"(scale|bias)$", path_name(path)), params
  )


def matrices(params: Params, axes: MatrixAxes) -> PyTree:
  """The `MuonDimensionNumbers` of each hidden matrix, None for what Adam updates."""

  def of_leaf(path: KeyPath, _: Array) -> MuonDimensionNumbers | None:
    name = path_name(path)
    for pattern, reduced, produced in axes:
      if re.search(pattern, name):
        return MuonDimensionNumbers(reduction_axis=reduced, output_axis=produced)
    return None

  return jax.tree_util.tree_map_with_path(of_leaf, params)


def make(
  config: OptimizerConfig, steps: int, axes: MatrixAxes, *, learned_schedule: bool = False
) -> optax.GradientTransformation:
  """Builds the optimizer.

  Args:
    config: its fields.
    steps: length of the run, where the decay ends.
    axes: the network's table of hidden matrices, for Muon.
    learned_schedule: whether the parameters hold a noise schedule, under `process/schedule`.
  """
  if not learned_schedule:
    return _of_network(config, steps, axes)
  # A loss of its own moves it, so its gradient must not weigh in the norm that is clipped.
  schedule = _adam(config, config.schedule_learning_rate, steps, config.schedule_weight_decay)
  return _apart("schedule", schedule, _of_network(config, steps, axes))


def _adam(
  config: OptimizerConfig, peak: float, steps: int, weight_decay: float = 0.0
) -> optax.GradientTransformation:
  """Adam with decoupled weight decay on all that it is given."""
  rate = learning_rate(config, peak, steps)
  settings = {"b1": config.beta1, "b2": config.beta2, "eps": config.epsilon}
  if not weight_decay:
    return optax.adam(rate, **settings)
  return optax.adamw(rate, weight_decay=weight_decay, **settings)


def _apart(
  name: str, own: optax.GradientTransformation, rest: optax.GradientTransformation
) -> optax.GradientTransformation:
  """`own` for the parameters in the place of that name, `rest` for the others."""

  def kinds(params: Params) -> PyTree:
    return jax.tree_util.tree_map_with_path(
      lambda path, _: name if PLACES[name] in path_name(path) else "network", params
    )

  return optax.partition({name: own, "network": rest}, kinds)


def _of_network(
  config: OptimizerConfig, steps: int, axes: MatrixAxes
) -> optax.GradientTransformation:
  """Of all but a learned noise schedule."""
  clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
  if config.clip_quantile:
    clip = clip_by_quantile(config.clip_quantile)
  update = _update(config, steps, axes)
  if config.embedding_learning_rate is not None:
    embeddings = _adam(config, config.embedding_learning_rate, steps)
    update = _apart("embeddings", embeddings, update)
  return optax.chain(clip, update)


def _update(config: OptimizerConfig, steps: int, axes: MatrixAxes) -> optax.GradientTransformation:
  """What a clipped gradient is turned into: AdamW, or Muon and AdamW."""
  adam = optax.adamw(
    learning_rate(config, config.learning_rate, steps),
    b1=config.beta1,
    b2=config.beta2,
    eps=config.epsilon,
    weight_decay=config.weight_decay,
    mask=decayed if config.decay_weights_of == "matrices" else None,
  )
  if config.name == "adamw":
    return adam
  matrix = muon(
    learning_rate(config, config.matrix_learning_rate, steps),
    beta=config.momentum,
    weight_decay=config.weight_decay,
    muon_weight_dimension_numbers=lambda params: matrices(params, axes),
    consistent_rms=0.2,
  )

  # Muon's own branch for all else makes Nesterov steps and decays norms and biases: ours is Adam.
  def kinds(params: Params) -> PyTree:
    numbers = matrices(params, axes)
    return jax.tree.map(lambda _, m: "adam" if m is None else "matrix", params, numbers)

  return optax.partition({"matrix": matrix, "adam": adam}, kinds)
