"""The One Billion Word benchmark, packed, with the recipe that MDLM, SEDD and Duo share.

  python -m dlm_jax.train --config=configs/lm1b.py:mdlm --workdir=runs/lm1b

Published for `small` after a million steps: perplexity at most 31.78 (MDLM, packed; unpacked
sentences give 27.04 and are not to be compared), on the test split. The last 100,000 sentences of
the training split are the validation split, which the corpus lacks. Not trained here: it takes days
on accelerators. Needs the extra `hub`.
"""

from ml_collections import ConfigDict

from configs import compose, defaults


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument)


def corpus() -> ConfigDict:
  config = defaults.get_config()
  config.data.update(
    corpus={
      "name": "hf_dataset",
      "dataset": "dvruette/lm1b",
      "held_out": 100_000,
      "test": "test",
    },
    tokenizer={"name": "hf", "pretrained": "bert-base-uncased"},
    packing="wrapped",
    length=128,
  )
  config.evaluation.process = {"masking": "counted"}  # the same bound, with less noise
  return config
