"""The embedded corpus, the documentation of Python's standard library: the quickstart.

  python -m dlm_jax.train --config=configs/stdlib_docs.py --workdir=runs/quickstart

trains masked diffusion (`absorbing`) with 0.6M parameters in about five minutes on two CPU cores;
its test split then costs at most 2.40 bits a character. How far each method gets on a small budget:
experiments/paper_tables. What was tried: experiments/quickstart_race.

Small in every way, and Muon. Counted masking and a capped weight quieten the gradient: at equal
steps they are worth more than any other choice here. Rows are few and layers three for the sake of
more steps in the same time.
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
    steps=2400, batch_size=32, ema_decay=0.99, log_every=40, evaluate_every=1200
  )
  config.evaluation.update(rows=512, batch_size=64)
  config.checkpoint.update(save_every=1200)
  return config
