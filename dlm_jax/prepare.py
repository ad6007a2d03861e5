"""Prepares the data of a config: text to a token store, once.

  python -m dlm_jax.prepare --config=configs/stdlib_docs.py

Training does it too where the store is not there yet.
"""

from dlm_jax import command_line
from dlm_jax.data.prepare_settings import PrepareSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.data.preparation", PrepareSettings)
