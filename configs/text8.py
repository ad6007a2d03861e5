"""text8, 100 MB of Wikipedia in 27 letters, with the recipe that MDLM, SEDD and Duo share.

  python -m dlm_jax.train --config=configs/text8.py:mdlm --workdir=runs/text8
  python -m dlm_jax.train --config=configs/text8.py:mdlm,preset=tiny,steps=1000 --workdir=runs/tiny

`preset` is one of the network's. A row of training begins anywhere in the text, as in the code of
MD4, SEDD and MDLM. Published for `small` after a million steps, in bits a character: at most 1.40
(MDLM), 1.37 (MD4), 1.39 (SEDD absorb), 1.61 (D3PM uniform), and 1.23 for autoregression, exactly.
Not trained to its end here: it takes hours on eight accelerators.
"""

from ml_collections import ConfigDict

from configs import compose, defaults


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument)


def corpus() -> ConfigDict:
  config = defaults.get_config()
  config.data.update(
    corpus={"name": "text8"},
    tokenizer={"name": "letters"},
    packing="stream",
    windows="random",
    length=256,
  )
  config.evaluation.process = {"masking": "counted"}  # the same bound, with less noise
  return config
