"""Scores a trained model: the bound on -log p of a held-out split.

  python -m dlm_jax.evaluate --workdir=W [--split=test] [--samples=16] [--bound=flow]
  python -m dlm_jax.evaluate --workdir=W --corpus=other.txt     zero-shot, see data.zero_shot
  python -m dlm_jax.evaluate --workdir=W --metric=exact_match --sampler=confidence --steps=8

It prints nats a token, bits a character and perplexity a token, each an upper bound (exact for an
autoregressive model) with its standard error, and writes them with everything they depend on to
W/evaluations/, or to --output. `exact_match` is the share of prompts, of a run of prompts and
answers, whose answer is drawn exactly; its sampler and its steps are part of the record.
"""

from dlm_jax import command_line
from dlm_jax.evaluation.evaluation_settings import EvaluateSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.evaluation.bound", EvaluateSettings, distributed=True)
