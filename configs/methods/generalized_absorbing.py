"""GenMD4 (Shi et al. 2024): masked diffusion whose tokens learn schedules of their own."""

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import MD4, MD4_TRAINING, SHARED, timed

CODE = f"{MD4}, the authors' code"
# The exponents are trained as the network is.
RECIPE = (
  *SHARED,
  *MD4_TRAINING,
  Field("optimizer.learning_rate", 3e-4, CODE),
  Field("optimizer.schedule_learning_rate", 3e-4, CODE),
  Field("optimizer.schedule_weight_decay", 0.03, CODE),
  Field("times.epsilon", 0.0, "ours: the bound has a start of its own, process.start"),
)


def fields(config: ConfigDict) -> tuple[Field, ...]:
  del config
  process = {"name": "generalized_absorbing", "start": 1e-3}
  return (Field("process", process, f"{MD4}, section 6, and the authors' code"), *timed(MD4))
