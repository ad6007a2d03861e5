"""Answers prompts with a masked model, by the decoders of papers and model cards.

  python -m dlm_jax.generate --model=DIR --prompt="The capital of France is" [--preset=llada]
  python -m dlm_jax.generate --model=DIR --prompt="What is 12 x 13?" --chat --trajectory
  python -m dlm_jax.generate --model=DIR --prompt=.. --show=3
  python -m dlm_jax.generate --model=DIR --prompts=prompts.jsonl --num=4 --output=answers.jsonl
  python -m dlm_jax.generate --model=DIR --prompt=.. --preset=llada_fast_dual --decoder.length=64

A terminal shows the answer while it is written: masks as dots, tokens in the colour of their
certainty (the probability when they were committed), new ones bold, revised ones underlined.

A line of --prompts that cannot be answered is reported with its number; the others are answered,
and the exit code is 2, that of a mistake.
"""

from dlm_jax import command_line
from dlm_jax.generation.generate_settings import GenerateSettings, presets_text

if __name__ == "__main__":
  command_line.run("dlm_jax.generation.answer_output", GenerateSettings, notes=presets_text)
