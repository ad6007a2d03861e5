"""Masked diffusion on OpenWebText with the recipe of MDLM.

  python -m dlm_jax.train --config=configs/openwebtext/absorbing.py:small --workdir=runs/owt

The argument is a preset of the network. Published for `small` after a million steps: perplexity at
most 23.21 (MDLM), on the last 100,000 documents, which are the validation split. Needs the extra
`hub`.
"""

from ml_collections import ConfigDict

from configs import defaults


def get_config(preset: str = "small") -> ConfigDict:
  config = defaults.get_config()
  config.network.preset = preset
  config.evaluation.process = {"masking": "counted"}  # the same bound, with less noise
  config.data = {
    "corpus": {
      "name": "hf_dataset",
      "dataset": "Skylion007/openwebtext",
      "held_out": 100_000,
    },
    "tokenizer": {"name": "hf", "pretrained": "gpt2"},
    "packing": "wrapped",
    "length": 1024,
    "directory": "data",
  }
  # Half of the positions are masked on average, and no logits are held at the others.
  config.training.update(head_chunks=8, head_capacity=0.6)
  return config
