"""One process per workdir; a run is resumed with the config it was started with, or not at all."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import ml_collections
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.json_files import seal
from dlm_jax.runs import provenance, workdir


def config(**changes) -> ml_collections.ConfigDict:
  result = ml_collections.ConfigDict(
    {
      "training": {"steps": 100, "learning_rate": 1e-3, "log_every": 10},
      "network": {"widths": (8, 16), "bias": True, "extra": {}},
      "mesh": {"data": 1},
    }
  )
  result.update_from_flattened_dict(changes)
  return result


def open_and_close(path: pathlib.Path, settings=None, dataset_hash: str = "d") -> None:
  workdir.open_workdir(path, settings or config(), dataset={"hash": dataset_hash}).close()


def save(path: pathlib.Path, settings=None, step: int = 10) -> None:
  """What `workdir` sees of a checkpoint: its record."""
  directory = path / "checkpoints" / str(step) / "record"
  directory.mkdir(parents=True)
  metadata = {"config": workdir.plain(settings or config()), "dataset_hash": "d"}
  record = {"metadata": metadata, "step": step, "bound": None, "leaves": {}}
  (directory / "metadata").write_text(json.dumps(seal(record)))


def contents(path: pathlib.Path) -> dict[str, str]:
  return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def test_writes_what_the_run_depends_on(tmp_path):
  path = tmp_path / "a" / "run"
  with workdir.open_workdir(path, config(), dataset={"hash": "abc", "num_labels": 3}) as opened:
    assert opened.path == path and opened.checkpoints == str(path / "checkpoints")
  environment = json.loads((path / "environment.json").read_text())
  assert environment["dataset_hash"] == "abc"
  assert environment["device_count"] >= 1 and environment["device_kind"]
  assert environment["versions"]["jax"] and environment["versions"]["orbax-checkpoint"]
  assert environment["git_revision"] == provenance.git_revision()
  assert set(contents(path)) == {
    ".lock",
    "config.json",
    "dataset.json",
    "environment.json",
    "history.jsonl",
  }
  assert workdir.read_dataset(path) == {"layout": workdir.LAYOUT, "hash": "abc", "num_labels": 3}


def test_the_config_comes_back_as_it_was(tmp_path):
  open_and_close(tmp_path)
  read = workdir.read_config(tmp_path)
  assert read.to_dict() == config().to_dict()
  assert isinstance(read.network.widths, tuple)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_reading_where_there_is_no_run(tmp_path, name):
  (tmp_path / "empty").mkdir()
  with pytest.raises(UserError, match=f"there is no run in .*{name}"):
    workdir.read_config(tmp_path / name)


def test_an_unchanged_config_resumes_although_json_knows_no_tuples(tmp_path):
  open_and_close(tmp_path)
  open_and_close(tmp_path)
  assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_without_a_checkpoint_a_corrected_config_is_taken(tmp_path):
  open_and_close(tmp_path)
  other = config(**{"training.learning_rate": 0.5})
  open_and_close(tmp_path, other, dataset_hash="e")
  assert workdir.read_config(tmp_path).to_dict() == other.to_dict()
  assert workdir.read_dataset(tmp_path)["hash"] == "e"


@pytest.mark.parametrize("damage", ["nothing", "config.json is gone", "the record is damaged"])
def test_a_changed_config_is_refused_and_nothing_is_overwritten(tmp_path, damage):
  open_and_close(tmp_path)
  save(tmp_path)
  if damage == "config.json is gone":
    (tmp_path / "config.json").unlink()
  elif damage == "the record is damaged":
    (tmp_path / "checkpoints" / "10" / "record" / "metadata").write_text("{")
  before = contents(tmp_path)
  other = config(**{"training.learning_rate": 0.5, "training.steps": 7})
  other.network.widths = (8, 32)
  del other.network["extra"]
  other.training.stepsize = 3  # begins like a field that may change
  with pytest.raises(UserError) as refusal:
    open_and_close(tmp_path, other)
  message = str(refusal.value)
  assert "training.learning_rate: 0.001 -> 0.5" in message
  assert "network.widths: [8, 16] -> [8, 32]" in message
  assert "network.extra: {} -> (absent)" in message
  assert "training.stepsize: (absent) -> 3" in message
  assert "training.steps:" not in message
  assert f"--workdir, and --config.training.weights={tmp_path} to begin" in message
  assert {**contents(tmp_path), ".lock": ""} == {**before, ".lock": ""}
  open_and_close(tmp_path)  # the refusal freed the lock


def test_true_is_not_one(tmp_path):
  open_and_close(tmp_path)
  save(tmp_path)
  other = config().to_dict()
  other["network"]["bias"] = 1
  with pytest.raises(UserError, match=r"network\.bias: true -> 1"):
    open_and_close(tmp_path, other)


def test_other_data_is_refused(tmp_path):
  open_and_close(tmp_path)
  save(tmp_path)
  before = contents(tmp_path)
  with pytest.raises(UserError, match="its hash was d, now e"):
    open_and_close(tmp_path, dataset_hash="e")
  assert {**contents(tmp_path), ".lock": ""} == {**before, ".lock": ""}


def test_length_logging_and_mesh_may_change_and_the_old_config_is_kept(tmp_path):
  open_and_close(tmp_path)
  save(tmp_path)
  changes = {"training.steps": 200, "training.log_every": 1, "mesh.data": 8}
  open_and_close(tmp_path, config(**changes))
  assert json.loads((tmp_path / "config.json").read_text())["training"]["steps"] == 200
  rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
  assert [row["config"]["training"]["steps"] for row in rows] == [100, 200]
  assert [row["newest_checkpoint"] for row in rows] == [None, 10]
  assert rows[1]["changed"]["training.steps"] == "100 -> 200" and len(rows[1]["changed"]) == 3


def test_a_field_that_is_gone_and_changed_no_number_is_passed_over(tmp_path, capsys):
  old, name = config(**{"training.head_capacity": 0.55}), "training.head_capacity"
  open_and_close(tmp_path, old)
  save(tmp_path, old)
  assert workdir.read_config(tmp_path).training.head_capacity == 0.55
  open_and_close(tmp_path)
  assert f"this run had {name}, which is no field any more" in capsys.readouterr().out
  assert workdir.read_config(tmp_path, 10).training.head_capacity == 0.55  # as it was saved
  last = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
  assert last["changed"] == {name: "0.55 -> (absent)"}


@pytest.mark.parametrize("name", ["learning_rate", "matrix_learning_rate", "clip"])
def test_the_rates_of_the_optimizer_may_change_and_the_history_says_so(tmp_path, name):
  old, new = config(), config()
  old.optimizer, new.optimizer = {name: 1.0}, {name: 0.5}
  open_and_close(tmp_path, old)
  save(tmp_path, old)
  open_and_close(tmp_path, new)
  last = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
  assert last["changed"] == {f"optimizer.{name}": "1.0 -> 0.5"}


@pytest.mark.parametrize(
  ("altered", "sentence"),
  [
    ('{"training": {"st', r"config\.json is not JSON .*Bring the file back"),
    ("\udcff", r"config\.json is not JSON"),
    ("[1]", r"config\.json holds a list in the place of an object"),
    ({"network": {"widths": [8, 16], "bias": 3, "extra": {}}}, r"network\.bias: true -> 3\. Undo"),
    ({"network": 3}, r"of step 10 was saved under: network: \(absent\) -> 3; network\.bias: true"),
    ({"network": None}, r"network\.bias: true -> \(absent\)"),
  ],
)
def test_a_config_that_is_not_that_of_the_checkpoint_is_refused(tmp_path, altered, sentence):
  open_and_close(tmp_path)
  save(tmp_path)
  if isinstance(altered, dict):
    changed = {k: v for k, v in (config().to_dict() | altered).items() if v is not None}
    altered = json.dumps(changed)
  (tmp_path / "config.json").write_bytes(altered.encode("utf-8", "surrogateescape"))
  with pytest.raises(UserError, match=sentence):
    workdir.read_config(tmp_path)


def test_the_config_is_that_of_the_checkpoint_and_the_data_may_have_moved(tmp_path):
  old, new = config(), config()
  old.data, new.data = {"directory": "here", "length": 4}, {"directory": "there", "length": 4}
  old.optimizer, new.optimizer = {"learning_rate": 1.0}, {"learning_rate": 0.5}
  open_and_close(tmp_path, new)
  save(tmp_path, old)
  save(tmp_path, new, step=20)
  found = workdir.read_config(tmp_path, 10)
  assert found.data.directory == "there" and found.optimizer.learning_rate == 1.0
  assert workdir.read_config(tmp_path).optimizer.learning_rate == 0.5


def test_a_description_of_the_data_that_was_altered_is_refused(tmp_path):
  workdir.open_workdir(tmp_path, config(), dataset={"hash": "d", "length": 8}).close()
  path = tmp_path / "dataset.json"
  path.write_text(path.read_text().replace("8", "9"))
  with pytest.raises(UserError, match=r"dataset\.json was altered .*Bring the file back"):
    workdir.read_dataset(tmp_path)
  path.write_text("{")
  with pytest.raises(UserError, match=r"dataset\.json is not JSON"):
    workdir.read_dataset(tmp_path)


def test_a_second_process_is_refused_by_name(tmp_path):
  with workdir.open_workdir(tmp_path, config(), dataset={"hash": "d"}):
    before = contents(tmp_path)
    for _ in range(2):
      with pytest.raises(UserError, match=f"in use by process {os.getpid()}:"):
        open_and_close(tmp_path)
    assert contents(tmp_path) == before
  open_and_close(tmp_path)


_HOLDER = """
import pathlib, sys, time
from dlm_jax.runs import workdir

held = workdir._lock(pathlib.Path(sys.argv[1]))  # the name keeps the file, and the lock, alive
print("locked", flush=True)
time.sleep(60)
"""


def test_a_killed_process_leaves_no_lock(tmp_path):
  root = pathlib.Path(workdir.__file__).parents[2]
  environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
  arguments = [sys.executable, "-c", _HOLDER, str(tmp_path)]
  with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as holder:
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match=f"in use by process {holder.pid}:"):
      open_and_close(tmp_path)
    holder.send_signal(signal.SIGKILL)
  open_and_close(tmp_path)


def test_a_workdir_that_cannot_be_made(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot write to the workdir"):
    open_and_close(tmp_path / "file")


@pytest.mark.parametrize("wish", ["read", "resume"])
@pytest.mark.parametrize(("written", "found"), [(None, "no dataset.json"), (1, "layout 1")])
def test_a_run_of_another_version_is_refused(tmp_path, wish, written, found):
  open_and_close(tmp_path)
  save(tmp_path)
  (tmp_path / "dataset.json").unlink()
  if written is not None:
    (tmp_path / "dataset.json").write_text(json.dumps({"layout": written, "hash": "d"}))
  before = contents(tmp_path)
  with pytest.raises(UserError, match=rf"another version of dlm_jax \({found}.*train again"):
    workdir.read_dataset(tmp_path) if wish == "read" else open_and_close(tmp_path)
  assert {**contents(tmp_path), ".lock": ""} == {**before, ".lock": ""}


@pytest.mark.parametrize(("name", "allowed"), [("rows", True), ("process", False)])
def test_how_much_is_evaluated_may_change_but_not_the_process_that_is_scored(
  tmp_path, name, allowed
):
  values = {"rows": 8, "process": {"masking": "counted"}}
  old, new = config().to_dict(), config().to_dict()
  old["evaluation"], new["evaluation"] = {"rows": 4, "process": {}}, {"rows": 4, "process": {}}
  new["evaluation"][name] = values[name]
  open_and_close(tmp_path, old)
  save(tmp_path, old)
  if allowed:
    open_and_close(tmp_path, new)
  else:
    with pytest.raises(UserError, match=r"another config: evaluation\.process"):
      open_and_close(tmp_path, new)
