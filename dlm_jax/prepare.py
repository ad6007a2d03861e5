"""Prepares the data of a config: text to a token store, once.

  python -m dlm_jax.prepare --config=configs/stdlib_docs.py

Training does it too where the store is not there yet.
"""

from absl import flags

from dlm_jax import command_line
from dlm_jax.data import preparation
from dlm_jax.data.store import Store


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


def main() -> None:
  print(summary(preparation.prepare(command_line.config().data)))


if __name__ == "__main__":
  command_line.define_config()
  flags.declare_key_flag("config")
  command_line.run(main)
