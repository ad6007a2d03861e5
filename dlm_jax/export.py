"""Writes a model as a directory in the Hugging Face layout, for other programs to open.

  python -m dlm_jax.export --model=runs/mine --output=exported/mine
  python -m dlm_jax.export --model=checkpoints/llada --output=exported/llada

A run is written in the layout of the family that its network and its process are of: `llama` as
LLaDA, or with `network.qk_norm` as A2D-Qwen3; in blocks, which takes `network.qk_norm`, as SDAR;
autoregressive as LLaMA, Qwen2 or Qwen3. `transformer` is written as MDLM. A checkpoint is written
in its own layout, bit for bit. Beside the weights lie config.json, the tokenizer and a model card,
README.md. Nothing is overwritten.
"""

from dlm_jax import command_line
from dlm_jax.interop.export_settings import ExportSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.interop.exporting", ExportSettings)
