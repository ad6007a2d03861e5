"""From a config to a model that is judged by the truth: a Markov chain, whose entropy is known."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlm_jax.data.corpora import synthetic_markov
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.generation.draw import DrawSettings, draw
from dlm_jax.model.model import load
from dlm_jax.training.run import train
from tests import tiny

ROOT = Path(__file__).parent.parent
CHAIN = synthetic_markov.make(letters=5)
LENGTH = 32


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """The workdir of a network that has learned some of the chain."""
  directory = tmp_path_factory.mktemp("end_to_end")
  config = tiny.config(
    directory / "data",
    **{
      "data.length": LENGTH,
      "data.corpus.train_characters": 100_000,
      "data.corpus.test_characters": 20_000,
      "process.masking": "counted",
      "network.dropout": 0.0,
      "optimizer.decay": "linear",
      "training.steps": 300,
      "training.batch_size": 64,
      "training.log_every": 100,
      "training.evaluate_every": 300,
      "checkpoint.save_every": 300,
    },
  )
  assert train(config, str(directory / "run")) == 0
  return directory / "run"


@pytest.mark.slow
def test_the_bound_comes_close_to_the_entropy_and_stays_above(trained):
  record = evaluate(EvaluateSettings(workdir=str(trained), samples=8))
  bits = record["results"]["bits_per_character"]
  truth = CHAIN.window_entropy(LENGTH) / LENGTH / math.log(2)
  assert truth - 4 * bits["standard_error"] < bits["value"] < truth + 0.3 < math.log2(5)
  written = json.loads(next((trained / "evaluations").iterdir()).read_text())
  assert written["results"] == record["results"]


@pytest.mark.slow
def test_samples_are_as_likely_under_the_chain_as_its_own_text(trained):
  model = load(str(trained))
  samples = draw(DrawSettings(num=128, steps=LENGTH), model)
  texts = [model.tokenizer.decode(row) for row in samples.tokens]
  letters = np.array([[ord(c) - ord("a") for c in text] for text in texts])
  nats = -np.log(CHAIN.transitions[letters[:, :-1], letters[:, 1:]])
  marginal = CHAIN.stationary
  unrelated = -marginal @ np.log(CHAIN.transitions) @ marginal  # letters drawn one by one
  assert abs(nats.mean() - CHAIN.entropy_rate) < 0.3 < 0.5 * (unrelated - CHAIN.entropy_rate)


@pytest.mark.slow
@pytest.mark.proves("commands", process="absorbing")
@pytest.mark.parametrize(
  ("arguments", "shown"),
  [
    (["evaluate", "--samples=1"], ["bits / character", "perplexity", "written to"]),
    (["sample", "--num=2", "--prompt=abc", "--trajectory"], ["abc", "network evaluations"]),
    (["sample", "--infill=ab__c", "--sampler=first_hitting"], ["network evaluations"]),
  ],
  ids=lambda value: value[0],
)
def test_commands_print_what_the_readme_shows(trained, arguments, shown):
  command = [sys.executable, "-m", f"dlm_jax.{arguments[0]}", f"--workdir={trained}"]
  done = subprocess.run([*command, *arguments[1:]], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert all(text in done.stdout for text in shown)
