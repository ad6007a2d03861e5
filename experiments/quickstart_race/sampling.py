"""Which settings of the sampler give the best text of the quickstart's model.

  bash launch/quickstart.sh
  python -m dlm_jax.train --config=configs/stdlib_docs.py:autoregressive --config.seed=1 \\
    --workdir=runs/quickstart_judge
  python -m experiments.quickstart_race.sampling

draws texts with each of `CHOICES`, has an autoregressive run of the same corpus judge them, and
writes sampling.json here. `--table` prints what is there, with a text of each.

A low temperature makes text that the judge finds likely, and that says the same again and again:
entropy within a text and the share of words of the corpus stand beside the judge's bits, and all
three for real text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.evaluation import assess, judges
from dlm_jax.generation.draw import draw
from dlm_jax.generation.draw_settings import DrawSettings
from dlm_jax.model.model import Model, load, training_data
from dlm_jax.runs import provenance
from experiments.speed_quality.run import REAL, quality, real_text

RESULTS = Path(__file__).parent / "sampling.json"
MARGIN = {"sampler": "confidence", "sampler_settings": {"score": "margin"}, "steps": 64}
REMDM = {"sampler": "remdm", "sampler_settings": {"eta": 0.05}}
LOOP = {"sampler": "remdm", "sampler_settings": {"strategy": "loop", "eta": 0.05}}
# Fields of `DrawSettings`.
CHOICES: tuple[dict[str, Any], ...] = (
  *({"steps": steps} for steps in (8, 16, 32, 64, 256)),
  *({"steps": 64, "temperature": value} for value in (0.9, 0.8, 0.7, 0.6, 0.5)),
  {"steps": 64, "top_p": 0.9},
  *(MARGIN | {"temperature": value} for value in (1.0, 0.8, 0.6, 0.5)),
  REMDM | {"steps": 64},
  *(REMDM | {"steps": 256, "temperature": value} for value in (1.0, 0.8, 0.7, 0.6, 0.5)),
  LOOP | {"steps": 256, "top_p": 0.9},
)


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
  """What is judged, and by what.

  Attributes:
    workdir: run of the quickstart.
    judge: autoregressive run of the same corpus, from another seed.
    num: texts of each choice.
    table: only print the table of sampling.json.
  """

  workdir: str = "runs/quickstart"
  judge: str = "runs/quickstart_judge"
  num: PositiveInt = 256
  table: bool = False


def measure(
  model: Model, judge: judges.Judge, words: set[str], choice: Mapping[str, Any], num: int
) -> dict[str, Any]:
  """What the texts drawn with one choice are like, and the first of them."""
  samples = draw(DrawSettings(num=num, batch_size=num, **choice), model)
  texts = [model.tokenizer.decode(row) for row in samples.tokens]
  return {
    "choice": dict(choice),
    "evaluations": max(samples.num_evaluations),
    **quality(list(samples.tokens), texts, words, judge),
    "text": texts[0],
  }


def sweep(settings: SamplingSettings) -> dict[str, Any]:
  """Measures real text and every choice."""
  model, referee = load(settings.workdir), load(settings.judge)
  judge = judges.trained_here(referee)
  store = training_data(referee)
  words = assess.vocabulary(store)
  results = []
  for choice in CHOICES:
    results.append(measure(model, judge, words, choice, settings.num))
    bits = results[-1]["judge_bits_per_character"][0]
    print(f"{described(choice)}: {bits:.2f} bits a character", flush=True)
  return {
    "kind": "sampling",
    "results": results,
    "reference": real_text(store, settings.num, words, judge),
    "protocol": {
      "command": f"python -m experiments.quickstart_race.sampling --num={settings.num}",
      "model": provenance.protocol(model.provenance),
      "judge": provenance.protocol(referee.provenance),
    },
  }


def described(choice: Mapping[str, Any]) -> str:
  """The choice as flags of `python -m dlm_jax.sample`."""
  own = {f"sampler.{name}": value for name, value in choice.get("sampler_settings", {}).items()}
  fields = {name: value for name, value in choice.items() if name != "sampler_settings"} | own
  return " ".join(f"--{name}={value}" for name, value in fields.items())


def table(record: Mapping[str, Any]) -> str:
  """Markdown: a row a choice, what the judge finds likeliest first, and then the texts."""
  columns = ("settings", "evaluations", "judge, bits/char", "entropy, nats", "spelled", "repeated")
  lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
  ranked = sorted(record["results"], key=lambda row: row["judge_bits_per_character"][0])
  named = [(REAL, record["reference"]), *((f"`{described(r['choice'])}`", r) for r in ranked)]
  for name, row in named:
    bits, low, high = row["judge_bits_per_character"]
    figures = f"{bits:.2f} [{low:.2f}, {high:.2f}] | {row['entropy_nats'][0]:.2f}"
    shares = f"{row['spelled'][0]:.0%} | {row['repetition_4'][0]:.0%}"
    lines.append(f"| {name} | {row.get('evaluations', '')} | {figures} | {shares} |")
  return "\n".join([*lines, "", *(f"{name}: `{row['text']}`\n" for name, row in named)])


def main(settings: SamplingSettings) -> None:
  if not settings.table:
    storage.write_json(RESULTS, sweep(settings))
  print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
  command_line.run(main, SamplingSettings)
