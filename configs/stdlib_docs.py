"""The embedded corpus, the documentation of Python's standard library: the quickstart.

  python -m dlm_jax.train --config=configs/stdlib_docs.py --workdir=runs/quickstart

trains masked diffusion (`absorbing`) with 0.8M parameters in about six minutes on two CPU cores;
its test split then costs at most 2.65 bits a character. `configs/stdlib_docs.py:autoregressive`
reaches 1.757 (standard error 0.010), exactly. How far each method gets in 400 steps:
experiments/paper_tables.

Small in every way, and Muon. Counted masking and a capped weight quieten the gradient: at equal
steps they are worth more than any other choice here.
"""

from ml_collections import ConfigDict

from configs import compose, defaults

# A student starts from a trained model, so that a quarter of the steps is enough for it.
STUDENT = {
  "training.steps": 600,
  "training.evaluate_every": 120,
  "checkpoint.save_every": 120,
  "distillation.gap": 1 / 32,
  "distillation.steps_per_round": 120,
  "optimizer.learning_rate": 1e-3,
  "optimizer.matrix_learning_rate": 1e-3,
}
SIZES = {"duo_distilled": STUDENT, "sdtt": STUDENT}


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument, sizes=SIZES)


def corpus() -> ConfigDict:
  config = defaults.get_config()
  config.data.update(
    corpus={"name": "stdlib_docs"}, tokenizer={"name": "letters"}, packing="stream", length=64
  )
  config.process.update(masking="counted", weighting="min_capped", weight_cap=2.0)
  config.network.update(
    width=128,
    heads=2,
    depth=3,
    qk_norm=True,
    norm="rms",
    conditioning="none",
    dropout=0.0,
    unroll=0,
  )
  config.optimizer.update(
    name="muon",
    learning_rate=8e-3,
    matrix_learning_rate=1e-2,
    beta2=0.95,
    warmup_steps=50,
    decay="linear",
  )
  config.training.update(
    steps=2400, batch_size=32, ema_decay=0.99, log_every=40, evaluate_every=600
  )
  config.evaluation.update(rows=512, batch_size=64)
  config.checkpoint.update(save_every=600)
  return config
