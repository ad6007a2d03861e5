"""One and seven billion parameters, laid out as LLaDA is, on OpenWebText.

  python -m dlm_jax.train --config=configs/openwebtext_at_scale.py:absorbing --workdir=runs/1b

The preset is `1b` unless the argument says `preset=7b`. Rows of 4096 tokens, RMSNorm, SwiGLU, no
time, AdamW with weight decay, parameters spread over all devices. The memory that a device needs is
found without having one:

  python -m dlm_jax.compile_check --topology=v5e-256 --vocab_size=50257 \\
    --config=configs/openwebtext_at_scale.py:absorbing,preset=7b

Not trained here. OpenWebText has 9 billion tokens, too few for such networks: it stands in for a
corpus of your own (`config.data.corpus`). Needs the extra `hub`.
"""

from ml_collections import ConfigDict

from configs import compose, openwebtext


def get_config(argument: str = "") -> ConfigDict:
  return compose.config(corpus, argument)


def corpus() -> ConfigDict:
  config = openwebtext.corpus()
  config.data.length = 4096
  config.network.update(
    preset="1b", norm="rms", feedforward="swiglu", conditioning="none", dropout=0.0, unroll=1
  )
  config.optimizer.update(
    learning_rate=4e-4, decay="cosine", final_fraction=0.1, beta2=0.95, weight_decay=0.1
  )
  config.training.update(steps=500_000, batch_size=512)
  config.evaluation.update(rows=1024, batch_size=256)
  config.mesh.update(data=1, fsdp=-1)
  return config
