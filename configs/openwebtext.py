"""OpenWebText in tokens of GPT-2, with the recipe that MDLM, SEDD and Duo share.

  python -m dlm_jax.train --config=configs/openwebtext.py:mdlm --workdir=runs/owt

Published for `small` after a million steps: perplexity at most 23.05 (MDLM without the time), on
the last 100,000 documents, which are the validation split. Not trained here: it takes days on
accelerators. Needs the extra `hub`. One and seven billion parameters:
`configs/openwebtext_at_scale.py`.
"""

from ml_collections import ConfigDict

from configs import compose, defaults


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument)


def corpus() -> ConfigDict:
  config = defaults.get_config()
  config.data.update(
    corpus={"name": "hf_dataset", "dataset": "Skylion007/openwebtext", "held_out": 100_000},
    tokenizer={"name": "hf", "pretrained": "gpt2"},
    packing="wrapped",
    length=1024,
  )
  config.evaluation.process = {"masking": "counted"}  # the same bound, with less noise
  config.evaluation.split = "validation"  # there is no other
  # On a GPU a scan over the layers compiles three times as fast, and its steps take a third longer.
  config.network.unroll = 0
  return config
