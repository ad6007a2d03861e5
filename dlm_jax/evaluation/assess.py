"""What drawn text is like, beside held-out text: the record of the command `judge`."""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.json_files import read_object, read_objects
from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.storage import write_or_print
from dlm_jax.core.types import Record
from dlm_jax.data import preparation
from dlm_jax.data.store import Store
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed import progress
from dlm_jax.evaluation import judges, text_statistics
from dlm_jax.evaluation.evaluation_settings import JudgeSettings
from dlm_jax.evaluation.journal import Journal
from dlm_jax.evaluation.text_statistics import Interval
from dlm_jax.interop import opening
from dlm_jax.runs import provenance

# Rows of the training set that are read at once.
_ROWS = 4096
# Texts that the record keeps, to be looked at.
_SHOWN = 16


@dataclass(frozen=True)
class Sequences:
  """Texts and their tokens, each cut off where it ends."""

  tokens: list[np.ndarray]
  texts: list[str]


# Computes statistics of texts, by name.
Measure: TypeAlias = Callable[[Sequences], dict[str, Interval]]


def assess(settings: JudgeSettings) -> Record:
  """Judges the samples and returns the record written beside them.

  Raises:
    UserError: the samples or the judge cannot be read.
  """
  path = storage.expand(settings.samples)
  rows, protocol = _read(path)
  store = preparation.prepare(ConfigDict(protocol["config"]["data"]))
  samples = sequences([row["tokens"] for row in rows], store.tokenizer)
  held_out = store.rows(settings.reference)
  chosen = evenly_spread(len(held_out), len(rows))
  reference = sequences(held_out.unpadded(chosen), store.tokenizer)
  judge, described = _judge(settings)
  words = vocabulary(store)
  groups = {"samples": samples, "reference": reference}
  journal = _journal(settings, store, described)
  with journal.stoppable("statistics"):
    columns = statistics(groups, measures(store, judge, words, settings.copied), journal)
  record = {
    "kind": "samples",
    "results": columns["samples"],
    "reference": columns["reference"],
    "mauve": text_statistics.mauve(samples.texts, reference.texts),
    "texts": samples.texts[:_SHOWN],
    "trajectory": protocol.pop("trajectory", None),
    "protocol": {
      **protocol,
      "sequences": len(rows),
      "judge": described,
      "reference": {"split": settings.reference, "sequences": len(chosen)},
      "interval": f"bootstrap over sequences, {text_statistics.LEVEL:.0%}; distinct: jackknife",
      "entropy": "nats of the tokens within a sequence, mean over sequences",
    },
  }
  if jax.process_index() == 0 and write_or_print(record_path(settings), record):
    journal.remove()
  return record


def _journal(settings: JudgeSettings, store: Store, judge: Record | None) -> Journal:
  """Where statistics are kept until there is a record."""
  samples = storage.expand(settings.samples)
  depends_on = {
    "samples": hashlib.sha256(samples.read_bytes()).hexdigest(),
    "dataset_hash": store.hash,
    "reference": settings.reference,
    "judge": judge,
    "git_revision": provenance.git_revision(),
  }
  return Journal(samples.with_suffix(".judged.jsonl"), depends_on)


def record_path(settings: JudgeSettings) -> Path:
  return storage.expand(settings.samples).with_suffix(".judged.json")


def statistics(
  groups: dict[str, Sequences], measures: dict[str, Measure], journal: Journal
) -> dict[str, dict[str, Record | None]]:
  """Every statistic of every group of texts, by the names of both, as JSON.

  Args:
    groups: the texts.
    measures: what is computed of them.
    journal: where statistics are kept as they come, and are taken from where they are there.
  """
  done = {tuple(key): value for key, value in journal.read("judge", {})}
  missing = [pair for pair in itertools.product(measures, groups) if pair not in done]
  for name, group in progress.track(missing, "judging", "statistics"):
    found = measures[name](groups[group])
    done[name, group] = {each: _as_json(value) for each, value in found.items()}
    journal.write("judge", {}, [name, group], done[name, group])
  return {
    group: {each: value for name in measures for each, value in done[name, group].items()}
    for group in groups
  }


def measures(
  store: Store, judge: judges.Judge | None, words: set[str] | None, copied: Sequence[int]
) -> dict[str, Measure]:
  """What is computed of the texts, by name."""
  found: dict[str, Measure] = {}

  def of_tokens(name: str, statistic: Callable[..., Interval], *arguments: object) -> None:
    found[name] = lambda group: {name: statistic(group.tokens, *arguments)}

  def copied_from_training(tokens: list[np.ndarray], n: int) -> Interval:
    return text_statistics.copied(tokens, _training(store), n)

  if judge is not None:
    found["judge_perplexity"] = lambda group: {
      f"judge_perplexity_{name}": value
      for name, value in text_statistics.generative_perplexity(*judge(group.texts)).items()
    }
  of_tokens("entropy", text_statistics.entropy)
  for n in (1, 2, 3, 4):
    of_tokens(f"distinct_{n}", text_statistics.distinct, n)
  of_tokens("repetition_4", text_statistics.repetition, 4)
  of_tokens("self_bleu_4", text_statistics.self_bleu)
  for n in copied:
    of_tokens(f"copied_{n}", copied_from_training, n)
  if words is not None:
    found["spelled"] = lambda group: {"spelled": text_statistics.spelled(group.texts, words)}
  return found


def _as_json(value: Interval) -> dict[str, float] | None:
  return None if math.isnan(value.value) else dataclasses.asdict(value)


def sequences(rows: Sequence[Sequence[int]], tokenizer: Tokenizer) -> Sequences:
  """Rows of tokens up to the symbol that ends a text, without the one that begins it."""
  bos, eos = tokenizer.bos_id, tokenizer.eos_id
  cut = []
  for row in rows:
    tokens = np.asarray(row, np.int32)
    if bos is not None and len(tokens) and tokens[0] == bos:
      tokens = tokens[1:]
    ends = np.flatnonzero(tokens == eos) if eos is not None else []
    cut.append(tokens[: ends[0]] if len(ends) else tokens)
  return Sequences(cut, [tokenizer.decode(tokens) for tokens in cut])


def _training(store: Store) -> Iterator[np.ndarray]:
  """The training tokens in pieces; rows of a stream join, since its text goes on."""
  rows = store.rows("train")
  for start in range(0, len(rows), _ROWS):
    part = rows.unpadded(slice(start, start + _ROWS))
    if store.manifest["packing"] == "stream":
      yield np.concatenate(part)
    else:
      yield from part


def vocabulary(store: Store) -> set[str] | None:
  """The words of the training text, where the alphabet is that of text8."""
  if store.manifest["tokenizer"]["name"] != "letters":
    return None
  words: set[str] = set()
  for piece in _training(store):
    words.update(store.tokenizer.decode(piece).split(" ")[1:-1])  # those at the ends may be cut off
  return words - {""}


def _judge(settings: JudgeSettings) -> tuple[judges.Judge | None, Record | None]:
  """The judge, and what is said of it in the protocol."""
  if settings.judge is None:
    return None, None
  described = {"name": settings.judge, "texts": "decoded, encoded again, cut at the first end"}
  if opening.can_open(settings.judge):
    model = opening.load(settings.judge, weights=settings.weights)
    described |= {
      "name": storage.local(settings.judge).name,
      "step": model.provenance.step,
      "weights": model.provenance.weights,
      "dataset_hash": model.provenance.dataset_hash,
      "length": model.length,
      "git_revision": model.provenance.git_revision,
      "first_token_scored": True,
    }
    return judges.trained_here(model), described
  return judges.of_transformers(settings.judge), described | {"first_token_scored": False}


def _read(path: Path) -> tuple[list[Record], Record]:
  beside = path.with_suffix(".protocol.json")
  for file in (path, beside):
    if not file.is_file():
      raise UserError(
        f"there is no file {file}: draw samples with python -m dlm_jax.sample --output={path}."
      )
  rows = read_objects(path)
  way_out = f"Draw samples again with python -m dlm_jax.sample --output={path}."
  damaged = [
    number for number, row in enumerate(rows, 1) if row is None or not _is_tokens(row.get("tokens"))
  ]
  if damaged:
    raise UserError(f"line {damaged[0]} of {path} is no sample. {way_out}")
  if len(rows) < 2:
    raise UserError(
      f"{path} holds {len(rows)} samples: an interval needs at least 2, so draw more."
    )
  return rows, read_object(beside, {"config": dict}, way_out=way_out)


def _is_tokens(value: object) -> bool:
  return isinstance(value, list) and all(isinstance(token, int) for token in value)


def table(record: Record) -> Table:
  """The statistics for a person to read."""
  shown = Table("", "samples", "95% interval", "held-out text")
  for name, value in record["results"].items():
    reference = record["reference"].get(name)
    ends = f"{value['low']:.4g} .. {value['high']:.4g}" if value else ""
    cells = (f"{v['value']:.4g}" if v else "-" for v in (value, reference))
    first, last = cells
    shown.add_row(name.replace("_", " "), first, ends, last)
  return shown


def show(console: Console, record: Record) -> None:
  """Prints the statistics."""
  console.print(table(record))


def main(settings: JudgeSettings) -> None:
  """The command `judge`."""
  record = assess(settings)
  if jax.process_index() == 0:
    show(Console(markup=False), record)
