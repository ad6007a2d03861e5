"""Each recipe, resolved to its last default, held to what the authors' code and papers say.

The facts are in the sources that the files of `configs/methods` name. Fields that a row has as its
group has them are not repeated: `MDLM` below is the training that most of them share.
"""

import dataclasses
import operator
from collections.abc import Mapping

import pytest

from dlm_jax.core import resolve
from dlm_jax.data.preparation import DataConfig
from dlm_jax.evaluation.bound import DEFAULTS
from dlm_jax.model import from_config
from dlm_jax.processes.parts.times import Times
from dlm_jax.training.config import EvaluationConfig, TrainingConfig
from dlm_jax.training.distillation import DistillationConfig
from dlm_jax.training.optimizer import OptimizerConfig
from experiments.paper_tables import config, rows

MDLM = {
  "network.width": 768,
  "network.heads": 12,
  "network.depth": 12,
  "network.condition_width": 128,
  "network.dropout": 0.1,
  "network.norm": "layer",
  "network.epsilon": 1e-5,
  "network.rotary_base": 1e4,
  "network.embedding_width": 0,
  "network.norm_weights": True,
  "network.head_bias": True,
  "network.shared_dropout": False,
  "network.feedforward": "gelu",
  "network.qk_norm": False,
  "network.tied_head": False,
  "network.conditioning": "adaln",
  "network.time_conditioned": False,
  "network.initialization": "torch",
  "network.dtype": "auto",
  "network.residual": "float32",
  "network.biases": False,
  "network.learned_positions": 0,
  "network.identity_input": False,
  "network.qkv_clip": 0.0,
  "optimizer.name": "adamw",
  "optimizer.learning_rate": 3e-4,
  "optimizer.beta1": 0.9,
  "optimizer.beta2": 0.999,
  "optimizer.epsilon": 1e-8,
  "optimizer.weight_decay": 0.0,
  "optimizer.clip": 1.0,
  "optimizer.clip_quantile": 0.0,
  "optimizer.warmup_steps": 2500,
  "optimizer.decay": "constant",
  "optimizer.final_fraction": 0.0,
  "training.batch_size": 512,
  "training.steps": 1_000_000,
  "training.ema_decay": 0.9999,
  "training.ema_warmup": True,
  "training.evaluate_every": 10_000,
  "training.clip_batches": 0,
  "training.weights": "",
  "times.sampling": "antithetic",
  "times.epsilon": 1e-3,
  "times.importance": False,
  "evaluation.bound": None,
  "data.scored": "all",
  "data.padding": "ignored",
  "data.windows": "disjoint",
  "data.share": 1.0,
  "distillation.teacher": "",
  "distillation.gammas": None,
}
MASKED = {
  "process.masking": "independent",
  "process.weighting": "nelbo",
  "process.timesteps": None,
  "process.schedule": "Linear",
}
SIGMA = {
  "network.time_conditioned": True,
  "network.time_input": "sigma",
  "network.time_scale": 1.0,
}
MD4 = {
  "network.condition_width": 64,
  "network.embedding_width": 64,
  "network.norm_weights": False,
  "network.head_bias": False,
  "network.shared_dropout": True,
  "network.feedforward": "glu",
  "network.hidden_width": 2048,
  "network.initialization": "lecun",
  "network.dtype": "float32",
  "network.dropout": 0.05,
  "network.time_conditioned": True,
  "network.time_input": "t",
  "network.time_scale": 1000.0,
  "optimizer.weight_decay": 0.03,
  "optimizer.decay_weights_of": "all",
  "optimizer.clip": 0.0,
  "optimizer.warmup_steps": 2000,
  "optimizer.decay": "cosine",
  "training.ema_warmup": False,
  "times.sampling": "shared_offset",
  "times.epsilon": 1e-4,
}
CONTINUOUS = {
  "network.time_conditioned": True,
  "optimizer.schedule_learning_rate": 1e-2,
  "times.epsilon": 0.0,
  "process.parameterization": "categorical",
  "process.output_prior": True,
  "process.self_conditioning": 0.25,
  "process.shared_head": False,
}
# By method: what differs from `MDLM`, and what it has besides.
METHODS = {
  "ar": {"network.conditioning": "none", "process.begin_id": None},
  "mdlm": MASKED,
  "mdlm_time": {**MASKED, **SIGMA},
  "mdlm_discrete": {**MASKED, **SIGMA, "process.timesteps": 1000},
  "md4": {**MASKED, **MD4, "optimizer.learning_rate": 5e-4},
  "genmd4": {
    **MD4,
    "optimizer.learning_rate": 3e-4,
    "optimizer.schedule_learning_rate": 3e-4,
    "optimizer.schedule_weight_decay": 0.03,
    "times.epsilon": 0.0,
    "process.start": 1e-3,
    "process.schedule": "Polynomial",
    "process.schedule.exponent": 1.0,
  },
  "sedd": {**SIGMA, "process.schedule": "LogLinear", "process.schedule.epsilon": 1e-3},
  "sedd_uniform": {
    **SIGMA,
    "process.schedule": "Geometric",
    "process.schedule.sigma_min": 1e-4,
    "process.schedule.sigma_max": 20.0,
  },
  "udlm": {**SIGMA, "process.schedule": "Linear", "process.timesteps": None},
  "d3pm_uniform": {**SIGMA, "process.schedule": "Linear", "process.timesteps": 1000},
  "duo": {
    **SIGMA,
    "process.schedule": "Linear",
    "process.temperature": 1e-3,
    "process.candidates": 4,
    "process.curriculum_steps": 500_000,
  },
  "plaid": {
    **CONTINUOUS,
    "network.norm": "rms",
    "network.dropout": 0.0,
    "optimizer.learning_rate": 1.4e-3 / 3,
    "optimizer.weight_decay": 4e-5 / (1.4e-3 / 3),
    "optimizer.decay_weights_of": "all",
    "optimizer.embedding_learning_rate": 1e-2,
    "optimizer.schedule_weight_decay": 0.1,
    "optimizer.beta2": 0.99,
    "optimizer.clip": 0.0,
    "optimizer.clip_quantile": 0.95,
    "optimizer.decay": "linear",
    "training.ema_decay": 0.0,
    "times.sampling": "shared_offset",
    "process.width": 16,
    "process.norm": "unit",
    "process.objective": "vlb",
    "process.prior_warmup_steps": 5000,
    "process.reconstruction_share": 1 / 8,
    "process.schedule": "MonotoneGamma",
    "process.schedule.gamma_min": -3.0,
    "process.schedule.gamma_max": 6.0,
  },
  "langflow": {
    **CONTINUOUS,
    "network.time_scale": 20.0,
    "network.identity_input": True,
    "process.prior_warmup_steps": 5000,
    "evaluation.bound": "flow",
    "evaluation.flow_steps": 128,
    "process.width": 768,
    "process.norm": "root",
    "process.objective": "cross_entropy",
    "process.schedule": "GumbelGamma",
    "process.schedule.location": 4.723,
    "process.schedule.scale": 0.852,
    "process.schedule.entropy": 7.02,
    "process.schedule.cutoff": 1e-5,
  },
}
GIDD = {
  "network.dropout": 0.0,
  "network.time_conditioned": True,
  "network.time_input": "t",
  "network.time_scale": 1.0,
  "optimizer.learning_rate": 5e-4,
  "optimizer.beta2": 0.99,
  "optimizer.epsilon": 1e-9,
  "optimizer.weight_decay": 0.02,
  "optimizer.decay_weights_of": "all",
  "optimizer.warmup_steps": 10_000,
  "optimizer.decay": "cosine",
  "optimizer.final_fraction": 0.1,
  "training.steps": 500_000,
  "training.ema_decay": 0.0,
  "times.sampling": "shared_offset",
  "times.epsilon": 1e-4,
  "data.padding": "scored",
  "process.dynamic_weights": True,
  "process.weight_cap": 2.0,
  "process.schedule": "Linear",
}
METHODS |= {f"gidd_{tenths}": {**GIDD, "process.p_u": tenths / 10} for tenths in range(3)}
BLOCKS = {
  "training.steps": 150_000,
  "training.clip_batches": 100,
  "process.clip": (0.0, 1.0),
  **{name.replace("process.", "process.inner."): fact for name, fact in MASKED.items()},
}
METHODS |= {f"bd3lm_{size}": {**BLOCKS, "process.block_size": size} for size in (4, 8, 16)}
METHODS["bd3lm_first"] = {**MASKED, "training.steps": 850_000}
SCRATCH = {name: fact for name, fact in BLOCKS.items() if not name.startswith("training.")}
METHODS |= {f"bd3lm_scratch_{size}": {**SCRATCH, "process.block_size": size} for size in (4, 8, 16)}
DISTILLATION = {
  "optimizer.learning_rate": 6e-5,
  "optimizer.warmup_steps": 500,
  "training.batch_size": 128,
  "distillation.gap": 1 / 512,
  "distillation.steps_per_round": 10_000,
}
METHODS["duo_distilled"] = {
  **SIGMA,
  **DISTILLATION,
  "training.steps": 50_000,
  "training.ema_decay": 0.999,
  "process.curriculum_steps": 0,
  "distillation.gammas": (-4.0, -1.0),
}
METHODS["sdtt"] = {**MASKED, **DISTILLATION, "training.steps": 80_000}
# By corpus, or method and corpus.
AFTER_FIRST = {"data.scored": "after_first"}
MD4_OWT = {
  "optimizer.learning_rate": 3e-4,
  "network.dropout": 0.02,
  "network.embedding_width": 0,
}
ROWS = {
  ("md4", "owt"): MD4_OWT,
  ("genmd4", "owt"): MD4_OWT,
  ("text8",): {"data.windows": "random"},
  ("lm1b_unpacked",): {"data.padding": "noised_unscored"},
  ("ar", "lm1b"): AFTER_FIRST,
  ("ar", "owt_250k"): AFTER_FIRST,
  ("ar", "lm1b_unpacked"): {"training.steps": 500_000, **AFTER_FIRST},
  ("ar", "owt"): {"training.steps": 500_000, **AFTER_FIRST},
  **{(f"bd3lm_{s}", c): AFTER_FIRST for s in ("first", 4, 8, 16) for c in ("lm1b", "owt")},
  **{(f"bd3lm_scratch_{size}", "owt_250k"): AFTER_FIRST for size in (4, 8, 16)},
  ("owt_250k",): {"training.steps": 250_000},
  ("duo", "lm1b"): {"process.gammas": (-3.53, -1.76)},
  ("duo", "owt"): {"process.gammas": (-3.57, -1.86)},
  ("duo", "owt_250k"): {"process.curriculum_steps": 125_000},
  ("duo_distilled", "owt"): {"distillation.teacher": "runs/duo_owt"},
  ("sdtt", "owt"): {"distillation.teacher": "runs/mdlm_owt"},
}
# The rows of text: length, vocabulary and packing; the corpus, and the split that is scored.
HELD_OUT = {"name": "hf_dataset", "held_out": 100_000}
LM1B = ({**HELD_OUT, "dataset": "dvruette/lm1b", "test": "test"}, "test")
OWT = ({**HELD_OUT, "dataset": "Skylion007/openwebtext"}, "validation")
DATA = {
  "text8": (256, 27, "stream", {"name": "text8"}, "test"),
  "lm1b": (128, 30522, "wrapped", *LM1B),
  "lm1b_unpacked": (128, 30522, "wrapped_padded", *LM1B),
  "owt": (1024, 50257, "wrapped", *OWT),
  "owt_stream": (1024, 50257, "stream", *OWT),
  "owt_250k": (1024, 50257, "wrapped", *OWT),
}


def resolved(made) -> dict[str, object]:
  """Every part of a config as it is built: defaults that no config mentions are there too."""
  parts = from_config.build(made, rows.vocab_size(made))
  return {
    "network": parts.network,
    "process": parts.process,
    "optimizer": resolve.build(OptimizerConfig, made.optimizer),
    "training": resolve.build(TrainingConfig, made.training),
    "evaluation": resolve.build(EvaluationConfig, made.evaluation),
    "times": resolve.build(Times, made.times),
    "data": resolve.build(DataConfig, made.data),
    "distillation": resolve.build(DistillationConfig, made.distillation),
  }


def value(parts: Mapping[str, object], name: str) -> object:
  """The field of that dotted name; of a part, the name of its class."""
  part, _, field = name.partition(".")
  found = operator.attrgetter(field)(parts[part])
  return type(found).__name__ if dataclasses.is_dataclass(found) else found


@pytest.mark.parametrize("recipe", config.recipes(), ids="-".join)
def test_a_recipe_is_that_of_its_paper_field_by_field(recipe):
  method, corpus = recipe
  made = config.get_config(",".join(recipe))
  parts = resolved(made)
  facts = {**MDLM, **METHODS[method], **ROWS.get((corpus,), {}), **ROWS.get(recipe, {})}
  if method in ("bd3lm_4", "bd3lm_8", "bd3lm_16"):
    facts["training.weights"] = f"runs/bd3lm_first_{corpus}"
  found = {name: value(parts, name) for name in facts}
  assert found == {
    name: pytest.approx(fact) if isinstance(fact, float) else fact for name, fact in facts.items()
  }
  length, vocabulary, packing, text, split = DATA[corpus]
  if method.startswith("gidd"):
    length, packing = 512, "cropped"
  if method.startswith(("bd3lm", "md4", "genmd4")) and corpus == "owt":
    packing = "stream"  # their rows on OpenWebText have no begin and end symbols
  assert (made.data.length, rows.vocab_size(made)) == (length, vocabulary)
  assert made.data.packing == packing
  assert made.data.corpus.to_dict() == text
  assert (made.evaluation.get("split") or DEFAULTS["split"]) == split


@pytest.mark.parametrize("recipe", config.recipes(), ids="-".join)
def test_masks_are_counted_only_for_a_network_without_the_time(recipe):
  """Trained with independent masks and the time, it would be scored on what it never saw."""
  made = config.get_config(",".join(recipe))
  counted = made.evaluation.process.get("masking") == "counted"
  assert counted == (recipe[0] in ("mdlm", "bd3lm_first", "sdtt"))


def test_the_recipe_of_a_method_alone_is_that_of_its_authors():
  """Where the rows of the table were trained by others: Plaid's own network and budget."""
  made = config.CORPORA["text8"].get_config("plaid,recipe=paper")
  parts = resolved(made)
  facts = {
    "network.width": 384,
    "network.heads": 6,
    "network.depth": 16,
    "optimizer.learning_rate": 1.4e-3 * 256 / 384,
    "training.batch_size": 256,
    "training.steps": 92_000,
  }
  assert {name: value(parts, name) for name in facts} == facts
  shrunk = parts["optimizer"].learning_rate * parts["optimizer"].weight_decay
  assert shrunk == pytest.approx(4e-5)
