"""The short path: import the package, load a model, sample it and score texts with it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dlm_jax
from dlm_jax.core.errors import UserError
from dlm_jax.interop.opening import load
from tests import tiny


def test_importing_the_package_loads_no_jax():
  code = "import sys, dlm_jax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_importing_all_of_the_short_path_starts_no_backend():
  code = (
    "import dlm_jax; dlm_jax.load, dlm_jax.score, dlm_jax.sample\n"
    "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_the_function_stays_although_a_command_has_its_name():
  import dlm_jax.sample  # noqa: PLC0415  the command: would take the name of the function

  assert dlm_jax.load is load
  assert dlm_jax.sample.__module__ == "dlm_jax.notebook"
  assert {"load", "sample", "score"} <= set(dir(dlm_jax))
  with pytest.raises(AttributeError, match="no attribute 'sampel'"):
    _ = dlm_jax.sampel


def test_texts_are_drawn_and_scored():
  model = tiny.model("autoregressive", length=8)
  texts = dlm_jax.sample(model, num=2, prompt="ab", steps=8)
  assert len(texts) == 2 and all(len(t) == 8 and t.startswith("ab") for t in texts)
  (found,) = dlm_jax.score(model, ["text"])
  assert found.exact and found.standard_error == 0.0
  # An untrained network knows next to nothing.
  assert found.nats == pytest.approx(-4 * math.log(27), rel=0.2)
  with pytest.raises(UserError, match="characters outside"):
    dlm_jax.score(model, ["text!"])


def test_a_bound_has_a_standard_error():
  model = tiny.model("absorbing", length=8)
  (found,) = dlm_jax.score(model, ["text"], samples=8)
  assert not found.exact and found.draws == 8 and math.isfinite(found.standard_error)


@pytest.mark.processes
def test_what_is_installed_finds_its_configs_from_another_folder(tmp_path):
  root = Path(__file__).parent.parent
  build = ["egg_info", f"--egg-base={tmp_path}", "build", f"--build-base={tmp_path / 'base'}"]
  build.append(f"--build-lib={tmp_path / 'installed'}")
  command = [sys.executable, "-c", "import setuptools; setuptools.setup()", *build]
  subprocess.run(command, cwd=root, check=True, capture_output=True)
  (tmp_path / "elsewhere").mkdir()
  done = subprocess.run(
    [sys.executable, "-m", "dlm_jax.train", "--config=configs/text8.py:duo", "--show_config"],
    cwd=tmp_path / "elsewhere",
    env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert "process.name = duo" in done.stdout
  assert (tmp_path / "installed" / "dlm_jax" / "reporting" / "page.html").exists()
