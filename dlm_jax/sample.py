"""Draws text from a trained model.

  python -m dlm_jax.sample --workdir=W [--num=8] [--steps=64] [--sampler=first_hitting]
  python -m dlm_jax.sample --workdir=W --prompt="the history of "
  python -m dlm_jax.sample --workdir=W --infill="the ____ sat on the ____" --trajectory
  python -m dlm_jax.sample --workdir=W --prompts=prompts.jsonl --num=4 --output=drawn.jsonl
  python -m dlm_jax.sample --workdir=W --sampler=remdm --sampler.eta=0.05
  python -m dlm_jax.sample --workdir=W --output=denoising.svg

Autoregressive models and block diffusion write from left to right, and stop where a text ends. In
--infill each underscore is one token to draw; a text shorter than --length goes on after it. Where
underscores are text, another --blank stands for a token, or a backslash before them makes them so.
"""

from dlm_jax import command_line
from dlm_jax.generation.sample_settings import SampleSettings, samplers_text

if __name__ == "__main__":
  command_line.run(
    "dlm_jax.generation.output", SampleSettings, distributed=True, notes=samplers_text
  )
