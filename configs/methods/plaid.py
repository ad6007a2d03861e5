"""Plaid (Gulrajani and Hashimoto 2023): the bound of Gaussian diffusion, its schedule learned.

The recipe is that of the authors' code for their smallest network. They scale rates with the width
(muP): 1.4e-3 at 256, and at another width less for hidden matrices alone; here for all of the
network. Their weight decay is a share of the weight, not of the learning rate: 4e-5 a step at the
peak, and 1e-3 for the ends of the schedule.
"""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import PLAID, SHARED, continuous, share_of_steps

CODE = f"{PLAID}, the authors' train.py"


def rates(width: int) -> dict[str, float]:
  """The fields of the optimizer that follow from the width of the network."""
  peak = 1.4e-3 * 256 / width
  return {"optimizer.learning_rate": peak, "optimizer.weight_decay": 4e-5 / peak}


RECIPE = (
  *SHARED,
  Field("network.width", 384, CODE),
  Field("network.heads", 6, CODE),
  Field("network.depth", 16, CODE),
  Field("network.norm", "rms", CODE),
  Field("network.dropout", 0.0, CODE),
  *(Field(name, value, CODE) for name, value in rates(384).items()),
  Field("optimizer.embedding_learning_rate", 1e-2, CODE),
  Field("optimizer.schedule_weight_decay", 0.1, CODE),
  Field("optimizer.decay_weights_of", "all", CODE),
  Field("optimizer.beta2", 0.99, CODE),
  Field("optimizer.clip", 0.0, CODE),
  Field("optimizer.clip_quantile", 0.95, CODE),
  Field("optimizer.decay", "linear", CODE),
  Field("training.batch_size", 256, CODE),
  Field("training.steps", 92_000, CODE),
  Field("training.ema_decay", 0.0, CODE),
  Field("times.sampling", "shared_offset", PLAID),
)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  return continuous(
    f"{PLAID}, section 3, and the authors' train.py",
    schedule={"name": "monotone", "gamma_min": -3.0, "gamma_max": 6.0},
    prior_warmup_steps=share_of_steps(config, 5000, of=92_000),
    self_conditioning=0.25,
    reconstruction_share=0.125,
  )
