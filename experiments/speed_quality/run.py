"""What parallel refinement buys: quality of text against network evaluations and against time.

  python -m experiments.speed_quality.run

trains a model of each method, distils the Duo model, trains a judge (none of them again that is
there), draws text from each at 1, 2, 4, ... L steps, and writes results.json and figure.png here.

  python -m experiments.speed_quality.run --table

prints the table of results.json and draws figure.png.

The judge is autoregressive, from another seed and of twice the steps: of the same family as one of
the methods, which may favour it. Text that repeats itself is likely too, so that the entropy within
a text stands beside what the judge says, and both of them for real text.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.core.spread import evenly_spread
from dlm_jax.data.store import Store
from dlm_jax.evaluation import assess, judges, text_statistics
from dlm_jax.generation.draw import DrawSettings, Samples, draw
from dlm_jax.model.model import Model, load, training_data
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs
from dlm_jax.training.run import train
from experiments.paper_tables import scaled

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
REAL = "real text"
# Sequences that are timed one by one, and drawn 32 at once to be timed and judged.
ALONE = 4
TOGETHER = 32


@dataclass(frozen=True)
class Method:
  """A method of `configs/stdlib_docs.py` and how its model is sampled."""

  name: str
  preset: str
  sampler: str = "ancestral"
  settings: Mapping[str, object] = field(default_factory=dict)
  stepped: bool = True  # False where the number of evaluations is the length, whatever is asked for


METHODS = (
  Method("autoregressive, cached", "autoregressive", stepped=False),
  Method("absorbing", "absorbing"),
  Method("absorbing, ReMDM", "absorbing", "remdm", {"eta": 0.05}),
  Method("block of 16", "block"),
  Method("uniform (Duo)", "duo"),
  Method("uniform (Duo), distilled", "duo_distilled"),
  Method("continuous (LangFlow)", "langflow"),
)


def trained(workdir: Path, preset: str, steps: int) -> Model:
  """The model of the preset, trained unless it is there. `judge` is one too."""
  if preset == "judge":
    config = scaled.config(scaled.Run("autoregressive", seed=1), 2 * steps)
  elif preset == "duo_distilled":
    trained(workdir, "duo", steps)
    config = scaled.config(scaled.Run(preset, seed=0), steps // 2)
    config.distillation.teacher = str(workdir / "duo")
    config.distillation.steps_per_round = max(config.training.steps // 5, 1)
  else:
    config = scaled.config(scaled.Run(preset, seed=0), steps)
  directory = str(workdir / preset)
  if train(config.lock(), directory) != 0:
    raise SystemExit("stopped and saved; start the same command again to go on")
  return load(directory)


def draw_of(method: Method, model: Model, *, steps: int, num: int, at_once: int) -> Samples:
  """`num` sequences from nothing, `at_once` in a batch."""
  settings = DrawSettings(
    num=num,
    batch_size=at_once,
    steps=steps,
    sampler=method.sampler,
    sampler_settings=method.settings,
  )
  return draw(settings, model)


def quality(
  tokens: Sequence[np.ndarray], texts: Sequence[str], words: set[str], judge: judges.Judge
) -> dict[str, Any]:
  """What the texts are like, in bits where it is information; each with its 95% interval."""
  nats, counts = judge(texts)
  bits = text_statistics.interval(nats / math.log(2), counts)
  found = {
    "judge_bits_per_character": bits,
    "entropy_nats": text_statistics.entropy(tokens),
    "repetition_4": text_statistics.repetition(tokens, 4),
    "spelled": text_statistics.spelled(texts, words),
  }
  return {name: [value.value, value.low, value.high] for name, value in found.items()}


def real_text(store: Store, num: int, words: set[str], judge: judges.Judge) -> dict[str, Any]:
  """What so many texts of the test split are like, and the first of them."""
  rows = store.rows("test")[evenly_spread(store.num_rows("test"), num)]["tokens"]
  texts = [store.tokenizer.decode(row) for row in rows]
  return {**quality(list(rows), texts, words, judge), "text": texts[0]}


def measure(
  method: Method, model: Model, judge: judges.Judge, words: set[str], steps: int, judged: int
) -> dict[str, Any]:
  """One method at one number of steps: a row of the table."""
  together = draw_of(method, model, steps=steps, num=judged, at_once=TOGETHER)
  alone = draw_of(method, model, steps=steps, num=ALONE, at_once=1)
  texts = [model.tokenizer.decode(row) for row in together.tokens]
  return {
    "method": method.name,
    "steps": steps if method.stepped else None,
    "evaluations": float(np.mean(together.num_evaluations)),
    "latency": alone.seconds / ALONE,
    "tokens_per_second_alone": alone.tokens_per_second,
    "tokens_per_second_together": together.tokens_per_second,
    **quality(list(together.tokens), texts, words, judge),
    "text": texts[0],
  }


def steps_of(method: Method, length: int) -> tuple[int, ...]:
  """1, 2, 4, ... the length; the length alone where there is no choice."""
  return tuple(1 << k for k in range(length.bit_length())) if method.stepped else (length,)


COLUMNS = (
  "method",
  "steps",
  "evaluations",
  "judge, bits/char",
  "entropy, nats",
  "spelled",
  "ms for one sequence",
  "tokens/s, batch 1",
  "tokens/s, batch 32",
)


def table(record: Mapping[str, Any]) -> str:
  """Markdown, a row a method and number of steps."""
  lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
  for row in (record["reference"] | {"method": REAL}, *record["results"]):
    value, low, high = row["judge_bits_per_character"]
    said = (f"{value:.2f} [{low:.2f}, {high:.2f}]", f"{row['entropy_nats'][0]:.2f}")
    cells = [row["method"], "", "", *said, f"{row['spelled'][0]:.0%}", "", "", ""]
    if row["method"] != REAL:
      cells[1:3] = ("-" if row["steps"] is None else str(row["steps"]), f"{row['evaluations']:.0f}")
      cells[6] = f"{1000 * row['latency']:.0f}"
      cells[7:] = (f"{row[f'tokens_per_second_{how}']:,.0f}" for how in ("alone", "together"))
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def figure(record: Mapping[str, Any], path: Path) -> None:
  """The judge's bits and the entropy, against evaluations and against speed."""
  drawn = Figure(figsize=(12, 7), layout="constrained")
  panels = drawn.subplots(2, 3, sharex="col", sharey="row")
  against = {
    "evaluations": "network evaluations",
    "tokens_per_second_alone": "tokens a second, one sequence",
    "tokens_per_second_together": f"tokens a second, batch of {TOGETHER}",
  }
  said = {
    "judge_bits_per_character": "judge, bits a character",
    "entropy_nats": "entropy within a text, nats",
  }
  for line, (y, name) in zip(panels, said.items(), strict=True):
    line[0].set_ylabel(name)
    for axes, (x, _) in zip(line, against.items(), strict=True):
      for method in dict.fromkeys(row["method"] for row in record["results"]):
        rows = [row for row in record["results"] if row["method"] == method]
        axes.plot([row[x] for row in rows], [row[y][0] for row in rows], "o-", ms=4, label=method)
      axes.axhline(record["reference"][y][0], linestyle=":", color="black", label=REAL)
      axes.set_xscale("log")
      axes.xaxis.set_minor_formatter(NullFormatter())
      axes.grid(alpha=0.3)
  for axes, label in zip(panels[1], against.values(), strict=True):
    axes.set_xlabel(label)
  panels[0][0].legend(fontsize=8)
  drawn.savefig(path, dpi=110)


def define_flags() -> None:
  flags.DEFINE_string("workdir", "runs/speed_quality", "Where the models go, a directory each.")
  flags.DEFINE_integer("steps", 1000, "Of training, of each method.")
  flags.DEFINE_integer("judged", 128, "Sequences that are judged at each point.")
  flags.DEFINE_bool("table", False, "Print the table of results.json and draw figure.png.")


def sweep(workdir: Path, steps: int, judged: int) -> dict[str, Any]:
  """Trains what is missing and measures everything."""
  referee = trained(workdir, "judge", steps)
  judge = judges.trained_here(referee)
  store = training_data(referee)
  words = assess.vocabulary(store)
  results = []
  for method in METHODS:
    model = trained(workdir, method.preset, steps)
    for count in steps_of(method, model.length):
      results.append(measure(method, model, judge, words, count, judged))
      bits = results[-1]["judge_bits_per_character"][0]
      print(f"{method.name}, {count} steps: {bits:.2f} bits a character", flush=True)
  return {
    "kind": "speed_quality",
    "results": results,
    "reference": real_text(store, judged, words, judge),
    "protocol": {
      "command": f"python -m experiments.speed_quality.run --steps={steps} --judged={judged}",
      "judge": provenance.protocol(referee.provenance),
    },
  }


def main() -> None:
  values = flags.FLAGS
  if not values.table:
    record = sweep(storage.expand(values.workdir), values.steps, values.judged)
    workdirs.write_json(RESULTS, record)
  record = json.loads(RESULTS.read_text(encoding="utf-8"))
  figure(record, HERE / "figure.png")
  print(table(record))


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
