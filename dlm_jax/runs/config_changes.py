"""How the config of a run may differ from the one that its checkpoints were saved under."""

from collections.abc import Mapping

from dlm_jax.core.dotted import dotted
from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Json

# What a resumed run may change, as prefixes of dotted names: how long it runs, what it reports and
# where it runs, never what it computes.
CHANGEABLE = (
  "training.steps",
  "training.log_every",
  "training.evaluate_every",
  "training.max_skipped",
  "training.head_chunks",
  "checkpoint",
  "data.directory",
  "data.workers",
  "data.checks",
  "evaluation.rows",
  "evaluation.samples",
  "evaluation.batch_size",
  "evaluation.split",
  "evaluation.bound",
  "evaluation.flow_steps",
  "mesh",
  "wandb_project",
  "replaced",  # how the config came about
)
# Fields of earlier versions that changed no number: a run that has one goes on without it.
REMOVED = ("training.head_capacity",)
# What it may change besides, so that a run whose loss was no longer finite can go on. This changes
# what is computed: every later checkpoint remembers it, and so does every number of that model.
RATES = (
  "optimizer.learning_rate",
  "optimizer.matrix_learning_rate",
  "optimizer.schedule_learning_rate",
  "optimizer.clip",
)

_ABSENT = "(absent)"


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, str]:
  """The fields that differ, by dotted name, as `old -> new`."""
  before, after = dotted(old), dotted(new)
  return {
    name: f"{before.get(name, _ABSENT)} -> {after.get(name, _ABSENT)}"
    for name in sorted(before.keys() | after.keys())
    if before.get(name) != after.get(name)
  }


def rate_changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, str]:
  """Those of `changes` that change what a run computes."""
  return {name: change for name, change in changes(old, new).items() if _is_among(RATES, name)}


def require_same(old: Mapping[str, Json], new: Mapping[str, Json], what: str, way_out: str) -> None:
  """Raises `UserError` where two configs differ in more than a resumed run may change.

  Args:
    old: of the checkpoint.
    new: the other one.
    what: the beginning of the message; the fields follow it.
    way_out: its last sentence.
  """
  refused = [
    f"{name}: {change}"
    for name, change in changes(old, new).items()
    if not _is_among((*CHANGEABLE, *REMOVED, *RATES), name)
  ]
  if refused:
    raise UserError(f"{what}: {'; '.join(refused)}. {way_out}")


def _is_among(prefixes: tuple[str, ...], name: str) -> bool:
  return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
