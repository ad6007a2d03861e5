"""Says what drawn text is like: judge perplexity, entropy, repetition, variety, memorisation.

  python -m dlm_jax.sample --workdir=W --num=256 --output=W/samples.jsonl
  python -m dlm_jax.judge  --samples=W/samples.jsonl --judge=runs/autoregressive

The judge is an autoregressive run, or a causal model of `transformers` (a hub name such as gpt2, or
a directory). The same statistics of as many held-out rows stand beside those of the samples. All is
written to W/samples.judged.json with the protocol of the samples.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.core.errors import UserError
from dlm_jax.data import preparation
from dlm_jax.data.store import Store
from dlm_jax.evaluation import judges, text_statistics
from dlm_jax.runs import workdir as workdirs

# Rows of the training set that are read at once.
_ROWS = 4096
# Texts that the record keeps, to be looked at.
_SHOWN = 16


@dataclass(frozen=True)
class Settings:
  """What is judged, and by whom.

  Attributes:
    samples: a JSONL file of `dlm_jax.sample`, its protocol beside it.
    judge: workdir of an autoregressive run, or a model of `transformers`; None for none.
    weights: of a judge trained here, `ema` or `raw`.
    copied: lengths of the n-grams that are looked for in the training set.
    reference: the split whose rows stand beside the samples.
  """

  samples: str
  judge: str | None = None
  weights: str = "ema"
  copied: tuple[int, ...] = (8, 16, 32)
  reference: str = "test"


@dataclass(frozen=True)
class Sequences:
  """Texts and their tokens, each cut off where it ends."""

  tokens: list[np.ndarray]
  texts: list[str]


def assess(settings: Settings) -> dict[str, Any]:
  """Judges the samples and returns the record written beside them.

  Raises:
    UserError: the samples or the judge cannot be read.
  """
  path = Path(settings.samples)
  rows, protocol = _read(path)
  store = preparation.prepare(ConfigDict(protocol["config"]["data"]))
  drawn = sequences([row["tokens"] for row in rows], store)
  held_out = store.rows(settings.reference)
  chosen = np.linspace(0, len(held_out) - 1, min(len(rows), len(held_out))).astype(int)
  reference = sequences(_unpadded(held_out[chosen]), store)
  judge, described = _judge(settings)
  words = vocabulary(store)
  columns = {
    name: statistics(group, store, judge, words, settings.copied)
    for name, group in {"samples": drawn, "reference": reference}.items()
  }
  record = {
    "kind": "samples",
    "results": columns["samples"],
    "reference": columns["reference"],
    "mauve": text_statistics.mauve(drawn.texts, reference.texts),
    "texts": drawn.texts[:_SHOWN],
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
  if jax.process_index() == 0:
    workdirs.write_json(record_path(settings), record)
  return record


def record_path(settings: Settings) -> Path:
  return Path(settings.samples).with_suffix(".judged.json")


def statistics(
  group: Sequences,
  store: Store,
  judge: judges.Judge | None,
  words: set[str] | None,
  copied: Sequence[int],
) -> dict[str, dict[str, float] | None]:
  """Every statistic that is defined for the texts, by name, as JSON."""
  found = {}
  if judge is not None:
    perplexities = text_statistics.generative_perplexity(*judge(group.texts))
    found |= {f"judge_perplexity_{name}": value for name, value in perplexities.items()}
  found["entropy"] = text_statistics.entropy(group.tokens)
  for n in (1, 2, 3, 4):
    found[f"distinct_{n}"] = text_statistics.distinct(group.tokens, n)
  found["repetition_4"] = text_statistics.repetition(group.tokens, 4)
  found["self_bleu_4"] = text_statistics.self_bleu(group.tokens)
  for n in copied:
    found[f"copied_{n}"] = text_statistics.copied(group.tokens, _training(store), n)
  if words is not None:
    found["spelled"] = text_statistics.spelled(group.texts, words)
  return {name: _as_json(value) for name, value in found.items()}


def _as_json(value: text_statistics.Interval) -> dict[str, float] | None:
  return None if math.isnan(value.value) else dataclasses.asdict(value)


def sequences(rows: Sequence[Sequence[int]], store: Store) -> Sequences:
  """Rows of tokens up to the symbol that ends a text, without the one that begins it."""
  bos, eos = store.tokenizer.bos_id, store.tokenizer.eos_id
  cut = []
  for row in rows:
    tokens = np.asarray(row, np.int32)
    if bos is not None and len(tokens) and tokens[0] == bos:
      tokens = tokens[1:]
    ends = np.flatnonzero(tokens == eos) if eos is not None else []
    cut.append(tokens[: ends[0]] if len(ends) else tokens)
  return Sequences(cut, [store.tokenizer.decode(tokens) for tokens in cut])


def _unpadded(rows: dict[str, np.ndarray]) -> list[np.ndarray]:
  given = rows.get("given", np.zeros(rows["tokens"].shape, bool))
  return [row[~padding] for row, padding in zip(rows["tokens"], given, strict=True)]


def _training(store: Store) -> Iterator[np.ndarray]:
  """The training tokens in pieces; rows of a stream join, since its text goes on."""
  rows = store.rows("train")
  for start in range(0, len(rows), _ROWS):
    part = rows[start : start + _ROWS]
    if store.manifest["packing"] == "stream":
      yield part["tokens"].reshape(-1)
    else:
      yield from _unpadded(part)


def vocabulary(store: Store) -> set[str] | None:
  """The words of the training text, where the alphabet is that of text8."""
  if store.manifest["tokenizer"]["name"] != "letters":
    return None
  words: set[str] = set()
  for piece in _training(store):
    words.update(store.tokenizer.decode(piece).split(" ")[1:-1])  # those at the ends may be cut off
  return words - {""}


def _judge(settings: Settings) -> tuple[judges.Judge | None, dict[str, Any] | None]:
  """The judge, and what is said of it in the protocol."""
  if settings.judge is None:
    return None, None
  described = {"name": settings.judge, "texts": "decoded, encoded again, cut at the first end"}
  if (Path(settings.judge) / "checkpoints").is_dir():
    restored = experiments.restore(settings.judge, weights=settings.weights)
    described |= {
      "name": Path(settings.judge).name,
      "step": restored.step,
      "weights": settings.weights,
      "dataset_hash": restored.experiment.store.hash,
      "length": restored.experiment.length,
      "git_revision": restored.metadata.get("git_revision"),
    }
    return judges.trained_here(restored), described
  return judges.of_transformers(settings.judge), described | {"first_token_scored": False}


def _read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
  beside = path.with_suffix(".protocol.json")
  for file in (path, beside):
    if not file.is_file():
      raise UserError(
        f"there is no file {file}: draw samples with python -m dlm_jax.sample --output={path}."
      )
  rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
  if len(rows) < 2:
    raise UserError(f"{path} holds {len(rows)} samples: an interval needs at least 2.")
  return rows, json.loads(beside.read_text(encoding="utf-8"))


def table(record: dict[str, Any]) -> Table:
  """The statistics for a person to read."""
  shown = Table("", "samples", "95% interval", "held-out text")
  for name, value in record["results"].items():
    reference = record["reference"].get(name)
    ends = f"{value['low']:.4g} .. {value['high']:.4g}" if value else ""
    cells = (f"{v['value']:.4g}" if v else "-" for v in (value, reference))
    first, last = cells
    shown.add_row(name.replace("_", " "), first, ends, last)
  return shown


def define_flags() -> None:
  flags.DEFINE_string("samples", None, "JSONL file of dlm_jax.sample.", required=True)
  flags.DEFINE_string(
    "judge", None, "Workdir of an autoregressive run, or a causal model of transformers."
  )
  flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Of a judge trained here.")
  flags.DEFINE_multi_integer(
    "copied", [8, 16, 32], "Tokens of the n-grams looked for in the training set."
  )
  flags.DEFINE_string("reference", "test", "Split that stands beside the samples.")


def main() -> None:
  fields = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Settings)}
  settings = Settings(**fields | {"copied": tuple(fields["copied"])})
  record = assess(settings)
  if jax.process_index() == 0:
    console = Console()
    console.print(table(record))
    console.print(f"written to {record_path(settings)}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
