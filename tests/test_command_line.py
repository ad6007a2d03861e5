"""What a user sees who mistypes a flag: one sentence and exit code 2, nothing written."""

import dataclasses
import functools
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import typing
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


# The names of the commands, and of each the call that runs it.
COMMANDS = {
  path.stem: call
  for path in sorted((ROOT / "dlm_jax").glob("*.py"))
  for call in re.findall(r"^  command_line\.run\([^()]*\)", path.read_text("utf-8"), re.M)
}


@functools.cache
def helps():
  """What `--help` prints of each command, and the libraries that this imported, in one process."""
  code = f"""
import contextlib, io, json, runpy, sys
from absl import flags
texts = {{}}
for command in {list(COMMANDS)}:
  for name in list(flags.FLAGS):
    delattr(flags.FLAGS, name)
  sys.argv[1:] = ["--help"]
  with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
    runpy.run_module(f"dlm_jax.{{command}}", run_name="__main__", alter_sys=True)
  texts[command] = text.getvalue()
print(json.dumps([texts, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
  return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_flag_of_the_command(command):
  text = helps()[0][command]
  for field in dataclasses.fields(settings_of(command)):
    nested = field.metadata.get("nested")
    flag = f"{field.name.removesuffix('_settings')}.SETTING" if nested else field.name
    assert re.search(rf"^  --(\[no\])?{flag}\b", text, re.M), flag
  assert f"python -m dlm_jax.{command}" in text


def test_help_waits_for_no_heavy_library():
  assert {"sample", "train"} <= COMMANDS.keys()
  assert not {"jax", "flax", "optax", "orbax", "grain", "numpy", "matplotlib"} & set(helps()[1])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_work_of_a_command_takes_its_settings(command):
  work = importlib.import_module(re.search(r'"([\w.]+)"', COMMANDS[command])[1])
  assert typing.get_type_hints(work.main)["settings"] is settings_of(command)


KEEPING = """
import pathlib, resource
import jax
from dlm_jax import command_line

def main():
  block = b"x" * 2**28
  del block
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  print(pages * resource.getpagesize() > 2**28, jax.config.jax_compilation_cache_dir)

command_line.run(main)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps memory")
def test_a_command_keeps_what_it_frees_and_what_it_compiles(tmp_path):
  env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": "", "DLM_JAX_CACHE": str(tmp_path)}
  done = subprocess.run(
    [sys.executable, "-c", KEEPING], cwd=ROOT, env=env, capture_output=True, text=True, check=True
  )
  assert done.stdout == f"True {tmp_path / 'compiled'}\n"


def settings_of(command):
  (name,) = re.findall(r"\b\w+Settings\b", COMMANDS[command])
  return vars(importlib.import_module(f"dlm_jax.{command}"))[name]


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
  assert "* training.steps = 2400" in done.stdout


def test_ctrl_c_is_one_sentence_that_says_what_is_there(monkeypatch, capsys):
  codes = []
  monkeypatch.setattr(command_line.app, "run", lambda main, **_: codes.append(main([])))

  def main():
    raise KeyboardInterrupt("2 of 3 sequences were drawn")

  command_line.run(main)
  assert codes == [130]
  assert capsys.readouterr().err == "error: stopped by Ctrl-C: 2 of 3 sequences were drawn.\n"
