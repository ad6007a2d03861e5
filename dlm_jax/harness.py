"""Runs tasks of lm-evaluation-harness on a trained model.

  pip install lm_eval
  python -m dlm_jax.harness --workdir=W --tasks=hellaswag,arc_easy [--samples=128] [--limit=100]
  python -m dlm_jax.harness --model=DIR --tasks=gsm8k --preset=llada --decoder.length=256

Likelihoods of a diffusion model are lower bounds, see `evaluation.conditional`. Scores and
continuations are kept in W/harness/scores-*.jsonl as they come: started again, the command goes on
where it stopped. The results are written to W/harness/ with everything they depend on. Tasks of
one's own are YAML files in --task_path.
"""

from dlm_jax import command_line
from dlm_jax.evaluation.evaluation_settings import HarnessSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.evaluation.lm_eval_tasks", HarnessSettings)
