"""GIDD (von Rutte et al. 2025): masked diffusion with random tokens in the middle of the time.

They teach the network that what it sees may be wrong. `p_u=0.0` is masked diffusion with the loss
and the training of the paper.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import GIDD, SHARED, timed

CODE = f"{GIDD}, the authors' configs/gidd.yaml"
RECIPE = (
  *SHARED,
  Field("network.dropout", 0.0, CODE),
  Field("network.time_scale", 1.0, CODE),
  Field("optimizer.learning_rate", 5e-4, CODE),
  Field("optimizer.beta2", 0.99, CODE),
  Field("optimizer.epsilon", 1e-9, CODE),
  Field("optimizer.weight_decay", 0.02, CODE),
  Field("optimizer.decay_weights_of", "all", CODE),
  Field("optimizer.warmup_steps", 10_000, CODE),
  Field("optimizer.decay", "cosine", CODE),
  Field("optimizer.final_fraction", 0.1, CODE),
  Field("training.steps", 500_000, CODE),
  Field("training.ema_decay", 0.0, f"{CODE}: no average"),
  Field("times.sampling", "shared_offset", CODE),
  Field("times.epsilon", 1e-4, CODE),
)


def fields(config: ConfigDict, p_u: float = 0.1) -> tuple[Field, ...]:
  del config
  process = {
    "name": "gidd",
    "schedule": {"name": "linear"},
    "p_u": p_u,
    "dynamic_weights": True,
    "weight_cap": 2.0,
  }
  source = f"{GIDD}, sections 4.1 and 4.3"
  return (Field("process", process, source), *timed(GIDD))
