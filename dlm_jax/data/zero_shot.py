"""Text a model was not trained on, as rows of its own tokenizer: zero-shot evaluation.

The number depends on more than the text: the split, what is undone of a data set's tokenisation
(see `detokenizers`), how documents are packed into windows, and whether a separator stands between
them. Papers differ in each, so a `Protocol` names them and the record holds it. Windows are
disjoint and nothing is carried from one to the next.
"""

import dataclasses
import glob
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlm_jax.core import resolve, storage
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.types import Fields, Json
from dlm_jax.data import packing, writing
from dlm_jax.data.detokenizers import DETOKENIZERS
from dlm_jax.data.positions import TEXT, ScoredPositions
from dlm_jax.data.store import Rows
from dlm_jax.data.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Protocol:
  """How a corpus becomes what is scored.

  Attributes:
    name: of the corpus in the record.
    corpus: fields of `config.data.corpus`; its documents are those of what it calls train.
    split: what the data set calls the split; None for files.
    detokenizer: a name of `DETOKENIZERS`: what is undone of the data set's tokenisation.
    packing: a name of `data.packing.PACKINGS`; None is that of the model's training.
    separated: whether the separator stands between documents, as in training.
  """

  name: str
  corpus: Fields
  split: str | None = None
  detokenizer: str = "none"
  packing: str | None = None
  separated: bool = True


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


def _hub(name: str, dataset: str, split: str, detokenizer: str, **fields: object) -> Protocol:
  """A data set of the hub, without a separator between documents (Duo; MDLM's code has one)."""
  corpus = {"name": "hf_dataset", "dataset": dataset, "train": split, **fields}
  return Protocol(name, corpus, split, detokenizer, separated=False)


# Data sets that came with a script, which the library no longer runs, were converted by the hub.
_CONVERTED = {"revision": "refs/convert/parquet"}
# The documents that the papers hold out, packed as the model's training text is. It is what a model
# of others that was trained on OpenWebText is scored on; a run of ours has them as a split.
OPENWEBTEXT = Protocol(
  "openwebtext",
  {"name": "hf_dataset", "dataset": "Skylion007/openwebtext", "train": "train[-100000:]"},
  "train[-100000:]",
)
# The seven corpora of the zero-shot tables of MDLM, BD3-LM and Duo, under the splits and the
# detokenizers of their code. MDLM's paper (appendix D.5) has validation splits throughout, and
# undoes the tokenisation of AG News.
ALL = (
  OPENWEBTEXT,
  _hub(
    "wikitext103", "Salesforce/wikitext", "validation", "wikitext", subset="wikitext-103-raw-v1"
  ),
  _hub("ptb", "ptb_text_only", "validation", "ptb", column="sentence", **_CONVERTED),
  _hub("lm1b", "dvruette/lm1b", "test", "lm1b"),
  _hub("lambada", "EleutherAI/lambada_openai", "test", "lambada"),
  _hub("ag_news", "fancyzhx/ag_news", "test", "none"),
  *(
    _hub(
      subset,
      "armanc/scientific_papers",
      "validation",
      "scientific",
      subset=subset,
      column="article",
      **_CONVERTED,
    )
    for subset in ("pubmed", "arxiv")
  ),
)
PROTOCOLS = {protocol.name: protocol for protocol in ALL}


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
    return Protocol(name, fields | {"document": "blank_lines"})
  raise UserError(
    f"--corpus {name!r} is neither a file nor a known corpus: {nearest(name, PROTOCOLS)}"
    f"The known ones are {', '.join(PROTOCOLS)}."
  )


def prepare(
  chosen: Protocol,
  tokenizer: Tokenizer,
  *,
  length: int,
  trained_packing: str,
  positions: ScoredPositions = TEXT,
) -> Foreign:
  """Encodes and packs the corpus with the model's tokenizer, in memory.

  Args:
    chosen: the corpus and what is done to it.
    tokenizer, length: of the model.
    trained_packing: of the model, for a protocol that has none of its own.
    positions: which of each row are scored.

  Raises:
    UserError: the corpus cannot be read, holds characters that the tokenizer lacks, or gives no
      row.
  """
  name = chosen.packing or trained_packing
  packer = packing.find(name)
  packer.check(tokenizer)
  packer = packer if chosen.separated else packer.unseparated()
  corpus = resolve.make("dlm_jax.data.corpora", chosen.corpus)
  texts = map(DETOKENIZERS[chosen.detokenizer], corpus.documents("train"))
  with tempfile.TemporaryDirectory() as directory:
    written = writing.write_split(
      Path(directory), "text", texts, length, tokenizer, packer, workers=1
    )
    arrays = {
      name: np.fromfile(Path(directory) / name, file["dtype"])
      for name, file in written.files.items()
    }
  counts = written.counts
  rows = Rows(
    arrays["text.tokens"].reshape(counts.rows, length),
    arrays.get("text.lengths"),
    positions=positions,
  )
  per_token = positions.characters_per_token(
    dataclasses.asdict(counts), length, begins_with_symbol=packer.begins
  )
  described = dataclasses.asdict(chosen) | {
    "corpus": dict(chosen.corpus),
    "packing": name,
    "windows": f"disjoint, of {length} tokens",
    "counts": dataclasses.asdict(counts),
    "sha256": {name: file["sha256"] for name, file in written.files.items()},
  }
  return Foreign(rows, per_token, described)
