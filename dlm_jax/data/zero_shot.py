"""Text a model was not trained on, as rows of its own tokenizer: zero-shot evaluation.

The number depends on more than the text: how documents are packed into windows, and what is undone
of a data set's tokenisation (PTB separates punctuation and contractions, WikiText writes ` @-@ `).
Papers differ in both, so a `Protocol` names them and the record holds it. Windows are disjoint and
nothing is carried from one to the next.
"""

import dataclasses
import glob
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlm_jax.core import resolve, storage
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.types import Fields, Json
from dlm_jax.data import packing, writing
from dlm_jax.data.store import Rows
from dlm_jax.data.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Protocol:
  """How a corpus becomes what is scored.

  Attributes:
    corpus: fields of `config.data.corpus`.
    split: of it.
    detokenizer: a name of `DETOKENIZERS`: what is undone of the data set's tokenisation.
    packing: a name of `data.packing.PACKINGS`; None is that of the model's training.
  """

  corpus: Fields
  split: str
  detokenizer: str = "none"
  packing: str | None = None


@dataclass(frozen=True)
class Foreign:
  """Rows of a foreign corpus.

  Attributes:
    rows: as of a split of a store.
    characters_per_token: of the scored tokens.
    protocol: as JSON, with the packing resolved, counts and the hash of the tokens.
  """

  rows: Rows
  characters_per_token: float
  protocol: dict[str, Json]


def _hub(dataset: str, split: str = "test", **fields: object) -> dict[str, object]:
  return {"name": "hf_dataset", "dataset": dataset, "train": split, **fields}


# The corpora of the zero-shot tables of SEDD and MDLM that have a test split of their own, each
# data set read through its name on the hub. Its only split here is called train.
PROTOCOLS = {
  "wikitext103": Protocol(
    _hub("Salesforce/wikitext", subset="wikitext-103-raw-v1"), "train", "wikitext"
  ),
  "ptb": Protocol(_hub("ptb_text_only", column="sentence"), "train", "penn"),
  "lm1b": Protocol(_hub("dvruette/lm1b"), "train", "penn"),
  "lambada": Protocol(_hub("EleutherAI/lambada_openai"), "train", "quotes"),
  "ag_news": Protocol(_hub("fancyzhx/ag_news"), "train"),
}


def protocol(name: str) -> Protocol:
  """The protocol called `name`, or that of the UTF-8 files of a path or glob.

  Documents of files end at blank lines.

  Raises:
    UserError: it is neither.
  """
  if name in PROTOCOLS:
    return PROTOCOLS[name]
  if glob.glob(str(storage.expand(name)), recursive=True):
    fields = {"name": "text_files", "paths": (name,), "validation": 0.0, "test": 0.0}
    return Protocol(fields | {"document": "blank_lines"}, "train")
  raise UserError(
    f"--corpus {name!r} is neither a file nor a known corpus: {nearest(name, PROTOCOLS)}"
    f"The known ones are {', '.join(PROTOCOLS)}."
  )


def prepare(
  chosen: Protocol, tokenizer: Tokenizer, *, length: int, trained_packing: str
) -> Foreign:
  """Encodes and packs the corpus with the model's tokenizer, in memory.

  Raises:
    UserError: the corpus cannot be read, holds characters that the tokenizer lacks, or gives no
      row.
  """
  name = chosen.packing or trained_packing
  packer = packing.find(name)
  packer.check(tokenizer)
  corpus = resolve.make("dlm_jax.data.corpora", chosen.corpus)
  texts = map(DETOKENIZERS[chosen.detokenizer], corpus.documents(chosen.split))
  with tempfile.TemporaryDirectory() as directory:
    written = writing.write_split(
      Path(directory), chosen.split, texts, length, tokenizer, packer, workers=1
    )
    arrays = {
      name: np.fromfile(Path(directory) / name, file["dtype"])
      for name, file in written.files.items()
    }
  counts = written.counts
  rows = Rows(
    arrays[f"{chosen.split}.tokens"].reshape(counts.rows, length),
    arrays.get(f"{chosen.split}.lengths"),
  )
  described = dataclasses.asdict(chosen) | {
    "corpus": dict(chosen.corpus),
    "packing": name,
    "windows": f"disjoint, of {length} tokens",
    "counts": dataclasses.asdict(counts),
    "sha256": {name: file["sha256"] for name, file in written.files.items()},
  }
  return Foreign(rows, counts.characters / counts.tokens, described)


def _replaced(*rules: tuple[str, str]) -> Callable[[str], str]:
  compiled = [(re.compile(pattern), by) for pattern, by in rules]

  def detokenize(text: str) -> str:
    for pattern, by in compiled:
      text = pattern.sub(by, text)
    return text

  return detokenize


# Punctuation back to the word before it, brackets and quotes to what they enclose.
_PUNCTUATION = (
  (r"\s+([.,;:!?%)\]}])", r"\1"),
  (r"([(\[{$#])\s+", r"\1"),
  (r'"\s+([^"]*?)\s+"', r'"\1"'),
)
_QUOTES = ((r"``|''|[“”]", '"'), (r"[‘’`]", "'"))

DETOKENIZERS: dict[str, Callable[[str], str]] = {
  "none": _replaced(),
  "quotes": _replaced(*_QUOTES),
  "wikitext": _replaced(
    (r" @([-.,])@ ", r"\1"),
    (r"\s+('(?:s|re|ve|ll|d|m|t)\b)", r"\1"),
    *_PUNCTUATION,
  ),
  "penn": _replaced(
    *_QUOTES,
    (r"\s+(n't|'(?:s|re|ve|ll|d|m)?\b)", r"\1"),
    *_PUNCTUATION,
  ),
}
