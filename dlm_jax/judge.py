"""Says what drawn text is like: judge perplexity, entropy, repetition, variety, memorisation.

  python -m dlm_jax.sample --workdir=W --num=256 --output=W/samples.jsonl
  python -m dlm_jax.judge  --samples=W/samples.jsonl --judge=runs/autoregressive

The judge is an autoregressive run, or a causal model of `transformers` (a hub name such as gpt2, or
a directory). The same statistics of as many held-out rows stand beside those of the samples. All is
written to W/samples.judged.json with the protocol of the samples.
"""

from dlm_jax import command_line
from dlm_jax.evaluation.evaluation_settings import JudgeSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.evaluation.assess", JudgeSettings)
