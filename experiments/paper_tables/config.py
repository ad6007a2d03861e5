"""The recipes of the papers, method by method and corpus by corpus, each field with its source.

  python -m dlm_jax.train --config=experiments/paper_tables/config.py:mdlm,text8 --workdir=runs/mdlm

The argument is METHOD,CORPUS of `METHODS` and `CORPORA`. What a recipe does not name is as in
`configs/defaults.py`; what is done otherwise than in the papers is listed in the README of this
folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from configs import continuous
from configs.lm1b import absorbing as lm1b
from configs.openwebtext import absorbing as openwebtext
from configs.text8 import absorbing as text8

CORPORA: dict[str, Callable[[], ConfigDict]] = {
  "text8": text8.get_config,
  "lm1b": lm1b.get_config,
  "owt": openwebtext.get_config,
}
MDLM = "MDLM, Sahoo et al. 2024"
MD4 = "MD4, Shi et al. 2024"
SEDD = "SEDD, Lou et al. 2024"
UDLM = "UDLM, Schiff et al. 2024"
BD3 = "BD3-LM, Arriola et al. 2025"
DUO = "Duo, Sahoo et al. 2025"
PLAID = "Plaid, Gulrajani and Hashimoto 2023"
LANGFLOW = "LangFlow, 2026"


@dataclass(frozen=True)
class Field:
  """A field of the config, by its dotted name, and the paper that sets it (or "ours: " and why)."""

  name: str
  value: Any
  source: str


# The recipe that MDLM, SEDD, UDLM, Duo and BD3-LM share.
SHARED = (
  Field("network.width", 768, MDLM),
  Field("network.heads", 12, MDLM),
  Field("network.depth", 12, MDLM),
  Field("network.condition_width", 128, MDLM),
  Field("network.dropout", 0.1, MDLM),
  Field("optimizer.name", "adamw", MDLM),
  Field("optimizer.learning_rate", 3e-4, MDLM),
  Field("optimizer.beta1", 0.9, MDLM),
  Field("optimizer.beta2", 0.999, MDLM),
  Field("optimizer.epsilon", 1e-8, MDLM),
  Field("optimizer.weight_decay", 0.0, MDLM),
  Field("optimizer.clip", 1.0, MDLM),
  Field("optimizer.warmup_steps", 2500, MDLM),
  Field("optimizer.decay", "constant", MDLM),
  Field("training.batch_size", 512, MDLM),
  Field("training.steps", 1_000_000, MDLM),
  Field("training.ema_decay", 0.9999, MDLM),
  Field("times.sampling", "antithetic", MDLM),
  Field("times.epsilon", 1e-3, MDLM),
)


def _masked(source: str) -> tuple[Field, ...]:
  return (
    Field("process.name", "absorbing", source),
    Field("process.schedule.name", "linear", source),
    Field("process.masking", "independent", source),
    Field("process.weighting", "nelbo", source),
    Field("network.time_conditioned", False, source),
  )


def _process(fields: dict[str, Any], source: str) -> tuple[Field, ...]:
  return (Field("process", fields, source), Field("evaluation.process", {}, source))


def _continuous(process: ConfigDict, source: str) -> tuple[Field, ...]:
  """All times count, and a learned schedule has a rate of its own, of which no paper speaks."""
  return (
    *_process(process.to_dict(), source),
    Field("network.conditioning", "adaln", source),
    Field("network.time_conditioned", True, source),
    Field("times.epsilon", 0.0, source),
    Field("training.head_chunks", 1, "ours: all logits are needed at once"),
    Field("training.head_capacity", 0.0, "ours: all logits are needed at once"),
    Field("optimizer.schedule_learning_rate", 1e-2, "ours: no paper speaks of it"),
  )


# How MD4 and GenMD4 are trained on text8.
MD4_TRAINING = (
  Field("network.dropout", 0.05, MD4),
  Field("optimizer.learning_rate", 5e-4, MD4),
  Field("optimizer.weight_decay", 0.03, MD4),
  Field("optimizer.warmup_steps", 2000, MD4),
  Field("optimizer.decay", "cosine", MD4),
  Field("times.sampling", "shared_offset", MD4),
)
# `owt` is set up for masked positions alone to be scored.
EVERY_POSITION = Field("training.head_capacity", 0.0, "ours: all positions are scored")
# Later fields overrule earlier ones.
METHODS: dict[str, tuple[Field, ...]] = {
  "ar": (*SHARED, *_process({"name": "autoregressive"}, MDLM), EVERY_POSITION),
  "mdlm": (*SHARED, *_masked(MDLM)),
  "md4": (
    *SHARED,
    *_masked(MD4),
    Field("network.time_conditioned", True, MD4),
    *MD4_TRAINING,
  ),
  "genmd4": (
    *SHARED,
    *_process({"name": "generalized_absorbing"}, MD4),
    Field("network.conditioning", "adaln", MD4),
    Field("network.time_conditioned", True, MD4),
    *MD4_TRAINING,
  ),
  "sedd": (
    *SHARED,
    *_process({"name": "score_absorbing", "schedule": {"name": "log_linear"}}, SEDD),
    Field("network.time_conditioned", True, SEDD),
    Field("training.steps", 1_300_000, SEDD),
  ),
  "sedd_uniform": (
    *SHARED,
    *_process(
      {
        "name": "score_uniform",
        "schedule": {"name": "geometric", "sigma_min": 1e-4, "sigma_max": 20.0},
      },
      SEDD,
    ),
    Field("network.time_conditioned", True, SEDD),
    Field("training.steps", 1_300_000, SEDD),
    EVERY_POSITION,
  ),
  "udlm": (
    *SHARED,
    *_process({"name": "uniform", "schedule": {"name": "linear"}}, UDLM),
    Field("network.time_conditioned", True, UDLM),
    EVERY_POSITION,
  ),
  "duo": (
    *SHARED,
    *_process({"name": "duo", "schedule": {"name": "linear"}, "curriculum_steps": 500_000}, DUO),
    Field("network.time_conditioned", True, DUO),
    EVERY_POSITION,
  ),
  "plaid": (
    *SHARED,
    *_continuous(continuous.plaid(), PLAID),
    Field("times.sampling", "shared_offset", PLAID),
  ),
  "langflow": (*SHARED, *_continuous(continuous.langflow(), LANGFLOW)),
} | {
  f"bd3lm_{size}": (
    *SHARED,
    *_process(
      {
        "name": "block",
        "inner": {"name": "absorbing", "schedule": {"name": "linear"}},
        "block_size": size,
        "clip": (0.0, 1.0),
      },
      BD3,
    ),
  )
  for size in (4, 8, 16)
}
# The papers that do not report on every corpus.
ONLY = {
  "md4": ("text8",),
  "genmd4": ("text8",),
  "duo": ("lm1b", "owt"),
  "plaid": ("text8", "lm1b"),
  "langflow": ("lm1b", "owt"),
}


def recipes() -> list[tuple[str, str]]:
  """All (method, corpus) that there are."""
  return [(m, c) for m in METHODS for c in ONLY.get(m, CORPORA)]


def get_config(argument: str = "mdlm,text8") -> ConfigDict:
  method, _, corpus = argument.partition(",")
  if (method, corpus) not in recipes():
    known = "; ".join(f"{m},{c}" for m, c in recipes())
    raise ValueError(f"there is no recipe {argument!r}. The known ones are {known}.")
  config = CORPORA[corpus]()
  for field in METHODS[method]:
    *parents, last = field.name.split(".")
    section = config
    for parent in parents:
      section = section[parent]
    section[last] = field.value
  return config
