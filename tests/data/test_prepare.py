import subprocess
import sys
import textwrap

CONFIG = """
from ml_collections import ConfigDict
def get_config():
  return ConfigDict({"process": {"name": "absorbing"}, "network": {"name": "transformer"}, "data": {
    "corpus": {"name": "synthetic_markov", "train_characters": 1000},
    "tokenizer": {"name": "character"}, "packing": "stream", "length": 10, "directory": "data",
  }})
"""


def _run(tmp_path, *flags):
  (tmp_path / "config.py").write_text(textwrap.dedent(CONFIG))
  command = [sys.executable, "-m", "dlm_jax.prepare", *flags]
  return subprocess.run(command, capture_output=True, text=True)


def test_prepares_and_then_reuses(tmp_path):
  flags = (f"--config={tmp_path}/config.py", f"--config.data.directory={tmp_path}/data")
  first = _run(tmp_path, *flags)
  assert first.returncode == 0, first.stderr
  assert "4 symbols" in first.stdout
  assert "100 rows" in first.stdout
  assert "reusing" not in first.stdout
  (store,) = (tmp_path / "data").iterdir()
  assert str(store) in first.stdout
  second = _run(tmp_path, *flags)
  assert f"reusing the prepared data in {store}" in second.stdout


def test_a_mistake_is_one_sentence(tmp_path):
  flags = (f"--config={tmp_path}/config.py", f"--config.data.directory={tmp_path}/data")
  wrong = _run(tmp_path, *flags, "--config.data.packing=streem")
  assert wrong.returncode == 2
  assert wrong.stderr.startswith("error: there is no packing 'streem'")
  assert wrong.stderr.count("\n") == 1
  assert "--config is missing" in _run(tmp_path).stderr
