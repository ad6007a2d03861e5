"""What several methods share: the papers, their training, and fields that go together."""

from ml_collections import ConfigDict

from configs.compose import Field

MDLM = "MDLM, Sahoo et al. 2024"
MD4 = "MD4, Shi et al. 2024"
SEDD = "SEDD, Lou et al. 2024"
DUO = "Duo, Sahoo et al. 2025"
GIDD = "GIDD, von Rutte et al. 2025"
PLAID = "Plaid, Gulrajani and Hashimoto 2023"

# The training that MDLM, SEDD, UDLM, Duo and BD3-LM share.
SHARED = (
  Field("network.width", 768, MDLM),
  Field("network.heads", 12, MDLM),
  Field("network.depth", 12, MDLM),
  Field("network.condition_width", 128, MDLM),
  Field("network.dropout", 0.1, MDLM),
  Field("network.initialization", "torch", MDLM),
  Field("network.residual", "float32", MDLM),
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
# How MDLM, SEDD, UDLM and Duo give their networks the time, where they do: raw, as -log alpha.
RAW_SIGMA = (
  Field("network.time_input", "sigma", MDLM),
  Field("network.time_scale", 1.0, MDLM),
)
# How MD4 and GenMD4 are trained on text8, but for the learning rate.
MD4_TRAINING = (
  Field("network.embedding_width", 64, f"{MD4}, the authors' code"),
  Field("network.condition_width", 64, f"{MD4}, the authors' code"),
  Field("network.norm_weights", False, f"{MD4}, the authors' code"),
  Field("network.feedforward", "glu", f"{MD4}, the authors' code"),
  Field("network.head_bias", False, f"{MD4}, the authors' code"),
  Field("network.shared_dropout", True, f"{MD4}, the authors' code"),
  Field("network.initialization", "lecun", f"{MD4}, the authors' code"),
  Field("network.dtype", "float32", f"{MD4}, the authors' code"),
  Field("network.dropout", 0.05, MD4),
  Field("optimizer.weight_decay", 0.03, MD4),
  Field("optimizer.decay_weights_of", "all", f"{MD4}, the authors' code"),
  Field("optimizer.clip", 0.0, f"{MD4}, the authors' code"),
  Field("optimizer.warmup_steps", 2000, MD4),
  Field("optimizer.decay", "cosine", MD4),
  Field("training.ema_warmup", False, f"{MD4}, the authors' code"),
  Field("times.sampling", "shared_offset", MD4),
  Field("times.epsilon", 1e-4, f"{MD4}, the authors' code: the smallest masked fraction"),
)
# How Duo's authors distil a model, but for its length.
DISTILLATION_TRAINING = (
  Field("optimizer.learning_rate", 6e-5, f"{DUO}, the authors' scripts/distil_owt.sh"),
  Field("optimizer.warmup_steps", 500, f"{DUO}, the authors' scripts/distil_owt.sh"),
  Field("training.batch_size", 128, f"{DUO}, the authors' scripts/distil_owt.sh"),
  Field("training.ema_decay", 0.999, f"{DUO}, the authors' scripts/distil_owt.sh"),
)


def masked(source: str) -> tuple[Field, ...]:
  """Masked diffusion on the bound itself."""
  process = {
    "name": "absorbing",
    "schedule": {"name": "linear"},
    "masking": "independent",
    "weighting": "nelbo",
  }
  return (Field("process", process, source),)


def timed(source: str) -> tuple[Field, ...]:
  """The network is given the time, by adaLN."""
  return (
    Field("network.conditioning", "adaln", source),
    Field("network.time_conditioned", True, source),
  )


def continuous(source: str, **process: object) -> tuple[Field, ...]:
  """Gaussian diffusion of embeddings of 16 numbers and unit size, but for what `process` sets.

  The network predicts tokens and learns the bound; all of [0, 1] counts, and a learned schedule has
  a rate of its own.
  """
  fields = {
    "name": "gaussian",
    "schedule": {"name": "linear"},
    "width": 16,
    "norm": "unit",
    "parameterization": "categorical",
    "objective": "vlb",
    "output_prior": True,
    "shared_head": False,
    "self_conditioning": 0.0,
    "reconstruction_share": 0.0625,
  }
  return (
    Field("process", fields | process, source),
    *timed(source),
    Field("times.epsilon", 0.0, source),
    Field("optimizer.schedule_learning_rate", 1e-2, f"{PLAID}, the authors' code"),
  )


def of_letters(config: ConfigDict) -> bool:
  """Whether the tokens of the corpus are letters."""
  return config.data.tokenizer.name in ("letters", "character")


def first_entropy(config: ConfigDict, of_words: float = 10.8) -> float:
  """Where a fitted schedule starts, in nats a token: log V of letters, or `of_words`, by default
  log V of GPT-2's vocabulary."""
  return 3.3 if of_letters(config) else of_words


def share_of_steps(config: ConfigDict, steps: int, of: int) -> int:
  """The steps of something that a paper does in `steps` of its `of`: in a shorter run fewer."""
  return min(steps, steps * config.training.steps // of)
