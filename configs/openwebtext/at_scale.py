"""Masked diffusion with one and seven billion parameters, laid out as LLaDA is.

  python -m dlm_jax.train --config=configs/openwebtext/at_scale.py:1b --workdir=runs/1b

The argument is a preset of the network, `1b` or `7b`. Rows of 4096 tokens, RMSNorm, SwiGLU, no
time, AdamW with weight decay, parameters spread over all devices. What a device must hold is known
without owning it:

  python -m dlm_jax.compile_check --config=configs/openwebtext/at_scale.py:7b --topology=v5e-256

Not trained here. OpenWebText has 9 billion tokens, too few for such networks: it stands in for a
corpus of your own (`config.data.corpus`). Needs the extra `hub`.
"""

from ml_collections import ConfigDict

from configs.openwebtext import absorbing


def get_config(preset: str = "1b") -> ConfigDict:
  config = absorbing.get_config(preset)
  config.data.length = 4096
  config.network.update(norm="rms", feedforward="swiglu", conditioning="none", dropout=0.0)
  config.optimizer.update(
    learning_rate=4e-4, decay="cosine", final_fraction=0.1, beta2=0.95, weight_decay=0.1
  )
  config.training.update(steps=500_000, batch_size=512, head_chunks=4)
  config.evaluation.update(rows=1024, batch_size=256)
  config.mesh.update(data=1, fsdp=-1)
  return config
