"""A step compiled for devices that are not here: what it must hold, and what it sends."""

import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from rich.console import Console

from dlm_jax.core.errors import UserError
from dlm_jax.distributed import ahead
from dlm_jax.training import compilation
from tests import tiny

ROOT = Path(__file__).parent.parent
needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="libtpu, which compiles for TPUs, is not installed: pip install 'dlm_jax[tpu]'",
)
# Wide enough for the kernels of a TPU, and for weights to be most of what is sent.
WIDE = {"network.width": 256, "network.heads": 2, "data.length": 128, "network.remat": "full"}
ADAM = {"optimizer.name": "adamw", "mesh.data": 1, "mesh.fsdp": -1}


def large(report, kind):
  found = (c for c in report.cost.collectives if c.kind == kind and c.bytes >= compilation.LARGE)
  return {c.dtype for c in found}


def state_bytes(experiment, devices):
  """Parameters, their average and Adam's two moments, float32, spread evenly."""
  params = jax.tree.leaves(experiment.abstract_state.params)
  return 4 * sum(leaf.size for leaf in params) * 4 / devices


def test_on_cpu_devices():
  fields = {**WIDE, **ADAM, "network.dtype": "float32"}
  config = tiny.config("no data is touched", **fields)
  report = compilation.compile_ahead(config, ahead.find("cpu:4"), vocab_size=512)
  assert report.cost.arguments == pytest.approx(state_bytes(report.experiment, 4), rel=0.1)
  assert report.cost.temporary > 0 and report.cost.seconds > 0
  assert large(report, "all-gather") == {"f32"}
  shown = io.StringIO()
  compilation.show(Console(file=shown, width=100), report)
  for text in ("4 x cpu", "fsdp 4", "2,048 tokens a step, 512 a device", "all-gather", "unknown"):
    assert text in shown.getvalue()


@needs_libtpu
@pytest.mark.slow
def test_a_tpu_gathers_in_bfloat16_and_holds_little_beside_its_share():
  config = tiny.config("no data is touched", **WIDE, **ADAM)
  report = compilation.compile_ahead(config, ahead.find("v5e-4"), vocab_size=512)
  assert report.topology.memory_gib == 16
  assert report.cost.arguments == pytest.approx(state_bytes(report.experiment, 4), rel=0.1)
  assert report.cost.memory < 64 * 2**20
  assert large(report, "all-gather") == {"bf16"}


@needs_libtpu
def test_what_does_not_fit_is_one_sentence():
  fields = {**WIDE, "data.length": 1 << 20, "training.batch_size": 1, "evaluation.batch_size": 1}
  fields |= {"network.attention": "xla"}
  with pytest.raises(UserError, match="does not fit a TPU v5 lite"):
    compilation.compile_ahead(tiny.config("", **fields), ahead.find("v5e-1"), vocab_size=512)


def test_the_command_takes_the_vocabulary_of_the_tokenizer(tmp_path):
  command = [sys.executable, "-m", "dlm_jax.compile_check", "--topology=cpu:2"]
  command += [f"--config={ROOT / 'configs/stdlib_docs.py'}", "--config.network.depth=1"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert "2 x cpu, mesh data 2" in done.stdout
