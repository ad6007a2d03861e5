"""What can happen to a checkpoint on disk. Each takes its directory, `checkpoints/<step>`."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from dlm_jax.runs import checkpoint
from dlm_jax.runs.checkpointer import Checkpointer


def truncated(step: Path) -> None:
  """Its largest file ends in the middle."""
  path = _largest(step)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bit_flipped(step: Path) -> None:
  """One bit of its largest file is another."""
  path = _largest(step)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def half_written(step: Path) -> None:
  """The save never came to its end: the name is a temporary one and files are missing."""
  _largest(step).unlink()
  step.rename(step.with_name(f"{step.name}.orbax-checkpoint-tmp"))


def unreadable_shard(step: Path) -> None:
  """Where its largest file was is something that cannot be read."""
  path = _largest(step)
  path.unlink()
  path.mkdir()


def wrong_dtype(step: Path) -> None:
  """Its parameters were cast behind the back of its record."""
  record = json.loads((step / "record" / "metadata").read_text())
  wanted = {
    name: jax.ShapeDtypeStruct(leaf["shape"], leaf["dtype"])
    for name, leaf in record["leaves"].items()
  }
  state, _ = checkpoint.restore(step.parent, wanted, step=int(step.name))
  cast = {n: a.astype(jnp.bfloat16) if n.startswith("params") else a for n, a in state.items()}
  _replace(step, cast, keep_record=True)


def wrong_model(step: Path) -> None:
  """It was copied here from the run of another network."""
  _replace(step, {"params/another": jnp.zeros((3, 5))}, keep_record=False)


DAMAGES: dict[str, Callable[[Path], None]] = {
  "truncated": truncated,
  "bit_flipped": bit_flipped,
  "half_written": half_written,
  "unreadable_shard": unreadable_shard,
  "wrong_dtype": wrong_dtype,
  "wrong_model": wrong_model,
}


def _largest(step: Path) -> Path:
  files = (path for path in (step / "state").rglob("*") if path.is_file())
  return max(files, key=lambda path: path.stat().st_size)


def _replace(step: Path, state: dict[str, jax.Array], *, keep_record: bool) -> None:
  """Puts the checkpoint of another state in the place of `step`, or its arrays alone."""
  with tempfile.TemporaryDirectory() as directory:
    with Checkpointer(directory, save_every=1, keep_latest=1) as checkpointer:
      checkpointer.save(int(step.name), state, {})
    part = "state" if keep_record else "."
    shutil.rmtree(step / part)
    shutil.copytree(Path(directory) / step.name / part, step / part)
