"""Prepares the data of a config: text to a token store, once.

  python -m dlm_jax.prepare --config=configs/stdlib_docs/absorbing.py

Training does it too where the store is not there yet.
"""

import sys

from absl import app
from ml_collections import config_flags

from dlm_jax.data import store as stores
from dlm_jax.data.store import Store
from dlm_jax.errors import UserError, report_user_errors

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment: a file in configs/.")


def summary(store: Store) -> str:
  """What a store holds, for a person to read."""
  lines = [f"{store.directory}  (hash {store.hash[:12]}, {store.tokenizer.vocab_size} symbols)"]
  for split, counts in store.manifest["splits"].items():
    line = f"  {split:<10}" + "".join(
      f"  {counts[name]:>13,} {name}" for name in ("documents", "rows", "tokens", "characters")
    )
    truncated = counts["truncated"]
    lines.append(line + (f"  ({truncated:,} documents cut off)" if truncated else ""))
  return "\n".join(lines)


@report_user_errors
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise UserError(f"unknown argument {argv[1]!r}: every argument is a flag, see --help.")
  if _CONFIG.value is None:
    raise UserError("--config is missing: give a file in configs/.")
  print(summary(stores.prepare(_CONFIG.value.data)))


if __name__ == "__main__":
  sys.exit(app.run(main))
