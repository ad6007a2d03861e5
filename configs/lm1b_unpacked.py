"""The One Billion Word benchmark, a sentence a row, as MDLM, UDLM and Duo report it "unpacked".

  python -m dlm_jax.train --config=configs/lm1b_unpacked.py:mdlm --workdir=runs/lm1b_unpacked

A row is [CLS] sentence [SEP], filled up to 128 with [PAD], which is noised and attended like text
and not scored. So its number is no bound on the sentence alone, and is not to be compared with one
of packed rows (`configs/lm1b.py`). Published for `small` after a million steps: perplexity 27.04
(MDLM). Not trained here: it takes days on accelerators. Needs the extra `hub`.
"""

from ml_collections import ConfigDict

from configs import compose, lm1b


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument)


def corpus() -> ConfigDict:
  config = lm1b.corpus()
  config.data.update(packing="wrapped_padded", padding="noised_unscored")
  return config
