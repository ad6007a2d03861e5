"""What a user sees who mistypes a flag: one sentence and exit code 2, nothing written."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from dlm_jax import command_line
from dlm_jax.core.ranges import Positive

ROOT = Path(__file__).parent.parent
CONFIG = "--config=configs/stdlib_docs.py"


def run(command, *arguments):
  return subprocess.run(
    [sys.executable, "-m", f"dlm_jax.{command}", *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONWARNINGS": "ignore"},
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """Of no command.

  Attributes:
    name: what it is called.
    size: its size in metres.
    weights: which weights.
    lengths: its lengths.
    rule: how it moves.
    rule_settings: settings of the rule.
    loud: whether it is heard.
  """

  name: str
  size: Positive = 1.5
  weights: Literal["ema", "raw"] = "ema"
  lengths: tuple[int, ...] = (8, 16)
  rule: str | None = None
  rule_settings: dict = dataclasses.field(default_factory=dict, metadata={"nested": True})
  loud: bool = True


def test_help_says_name_type_default_and_meaning_of_each_field():
  lines = command_line.help_text("Does nothing.", [Settings], lambda: "A note.").splitlines()
  assert lines[0] == "Does nothing." and lines[-1] == "A note."
  flags = dict(zip(lines[3:-2:2], lines[4:-2:2], strict=True))
  assert {name.strip(): meaning.strip() for name, meaning in flags.items()} == {
    "--name=str": "What it is called. Required.",
    "--size=float": "Its size in metres. Must be above 0. Default: 1.5.",
    "--weights=ema|raw": "Which weights. Default: ema.",
    "--lengths=int,...": "Its lengths. Default: 8,16.",
    "--rule=str": "How it moves.",
    "--rule.SETTING=VALUE": "Settings of the rule.",
    "--[no]loud": "Whether it is heard. Default: true.",
  }


SCRIPT = """
from dlm_jax import command_line
from tests.test_command_line import Settings
command_line.run(print, Settings)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
  ("arguments", "printed"),
  [
    (
      ["--name=a", "--lengths=1,2", "--rule=r", "--rule.eta=0.5", "--noloud", "--weights=raw"],
      "Settings(name='a', size=1.5, weights='raw', lengths=(1, 2), rule='r', "
      "rule_settings={'eta': '0.5'}, loud=False)",
    ),
    (["--size=2"], "error: --name is missing: what it is called."),
    (["--name=a", "--size=0"], "error: --size must be above 0, got 0.0."),
    (["--name=a", "--sise=2"], "error: there is no flag --sise: did you mean 'size'? See --help."),
    (
      ["--name=a", "--lengths=1,x"],
      "error: --lengths is a list of ints with commas between them, ",
    ),
    (["--name=a", "--rule.eta"], "error: --rule.eta needs a value: write it as --rule.eta=VALUE."),
    (
      ["--name=a", "--weights=none"],
      "error: flag --weights=none: value should be one of <ema|raw>",
    ),
  ],
)
def test_flags_become_settings_or_one_sentence(arguments, printed):
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT, capture_output=True, text=True
  )
  text = done.stderr if printed.startswith("error") else done.stdout
  assert text.startswith(printed) and text.count("\n") == 1
  assert done.returncode == (2 if printed.startswith("error") else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    ([CONFIG, "--config.data.pakcing=stream"], "no field 'pakcing': did you mean 'packing'"),
    ([CONFIG, "--config.training.steps", "many"], "training.steps must be a whole number"),
    ([CONFIG, "--workdirr=x"], "there is no flag --workdirr: did you mean 'workdir'?"),
    ([CONFIG, "prompt"], "unknown argument 'prompt'"),
    (["--config=configs/nope.py"], "there is no config file 'configs/nope.py'"),
    (["--config=configs/text8.py:mdlm,preset=hugee"], "no network preset 'hugee'"),
    ([], "--config"),
  ],
)
def test_mistakes_of_train(arguments, sentence, tmp_path):
  done = run("train", f"--workdir={tmp_path / 'run'}", *arguments)
  assert done.returncode == 2
  assert done.stderr.startswith("error: ")
  assert sentence in done.stderr
  assert done.stderr.count("\n") == 1
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "sample", "tune_block_times"])
def test_help_names_every_flag_of_the_command(command):
  done = run(command, "--help")
  flag = "--config" if command in ("prepare", "train") else "--workdir"
  assert flag in done.stdout
  assert f"python -m dlm_jax.{command}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "sample", "tune_block_times"])
def test_a_directory_that_is_no_run_is_named(command, tmp_path):
  done = run(command, f"--workdir={tmp_path / 'nothing'}")
  assert done.returncode == 2
  assert done.stderr.startswith("error: ") and str(tmp_path / "nothing") in done.stderr


@pytest.mark.slow
def test_show_config_needs_no_workdir_and_trains_nothing():
  done = run("train", CONFIG, "--config.process.name=uniform", "--show_config")
  assert done.returncode == 0, done.stderr
  assert "* process.name = uniform  # one of absorbing, " in done.stdout
  assert "* training.steps = 1000" in done.stdout


def test_ctrl_c_is_one_sentence_that_says_what_is_there(monkeypatch, capsys):
  codes = []
  monkeypatch.setattr(command_line.app, "run", lambda main, **_: codes.append(main([])))

  def main():
    raise KeyboardInterrupt("2 of 3 sequences were drawn")

  command_line.run(main)
  assert codes == [130]
  assert capsys.readouterr().err == "error: stopped by Ctrl-C: 2 of 3 sequences were drawn.\n"
