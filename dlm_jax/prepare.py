"""Prepares the data of a config: text to a token store, once.

  python -m dlm_jax.prepare --config=configs/stdlib_docs.py

Training does it too where the store is not there yet.
"""

from dataclasses import dataclass

from ml_collections import ConfigDict

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


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
  """What is prepared.

  Attributes:
    config: file in configs/, as in configs/stdlib_docs.py. Its section data says what is prepared;
      a field is set by --config.data.<field>=<value>.
  """

  config: ConfigDict


def main(settings: PrepareSettings) -> None:
  print(summary(preparation.prepare(settings.config.data)))


if __name__ == "__main__":
  command_line.run(main, PrepareSettings)
