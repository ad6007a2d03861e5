"""What a store holds, for a person to read."""

import numpy as np

from dlm_jax.data import packing
from dlm_jax.data.store import Store


def in_one_line(store: Store) -> str:
  """One line for a person: the documents and characters that were found, and how they are joined.

  Text that was cut otherwise than its owner thinks is seen here, before it is trained on.
  """
  counts = store.manifest["splits"]
  documents, characters = (
    sum(split[name] for split in counts.values()) for name in ("documents", "characters")
  )
  splits = ", ".join(f"{split} {count['documents']:,}" for split, count in counts.items())
  plural = "" if documents == 1 else "s"
  line = f"prepared {documents:,} document{plural} of {characters:,} characters in all ({splits})"
  line += f" with {store.tokenizer.vocab_size:,} symbols"
  if packing.find(store.manifest["packing"]).truncates:
    return f"{line}, one in a row"
  if documents == len(counts):
    return line
  separator = store.tokenizer.decode(np.array([store.tokenizer.separator_id]))
  return f"{line}, joined by {repr(separator) if separator else 'a symbol that is no text'}"


def of_splits(store: Store) -> str:
  """A line for the store, and one for each split with its counts."""
  lines = [f"{store.directory}  (hash {store.hash[:12]}, {store.tokenizer.vocab_size} symbols)"]
  for split, counts in store.manifest["splits"].items():
    line = f"  {split:<10}" + "".join(
      f"  {counts[name]:>13,} {name}" for name in ("documents", "rows", "tokens", "characters")
    )
    truncated = counts["truncated"]
    lines.append(line + (f"  ({truncated:,} documents cut off)" if truncated else ""))
  return "\n".join(lines)
