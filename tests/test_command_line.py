"""What a user sees who mistypes a flag: one sentence and exit code 2, nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    ([CONFIG, "--config.data.pakcing=stream"], "no field 'pakcing': did you mean 'packing'"),
    ([CONFIG, "--config.training.steps", "many"], "training.steps must be a whole number"),
    ([CONFIG, "--workdirr=x"], "there is no flag --workdirr: did you mean 'workdir'"),
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
