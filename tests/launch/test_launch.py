"""What the launchers would run, and what they do when what they run fails."""

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.launch import schemas

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sorted(
  str(path.relative_to(ROOT))
  for path in (ROOT / "launch").iterdir()
  if path.suffix in (".sh", ".sbatch")
)
CONFIG = "configs/stdlib_docs.py"
ARGUMENTS = [f"--config={CONFIG}", "--workdir=runs/a b"]
TRAIN = ["python", "-m", "dlm_jax.train", *ARGUMENTS]
SLICE = {
  "NAME": "slice",
  "ZONE": "us-west4-a",
  "TYPE": "v5litepod-16",
  "REPOSITORY": "https://example.org/dlm_jax",
}
GKE = ["--name=run1", "--image=registry/dlm_jax", "--accelerator=tpu-v5-lite-podslice"]
GKE += ["--topology=4x4", "--dry-run"]


def run(*command, check=True, timeout=60, **env):
  env = {**os.environ, "DLM_JAX_PLATFORM": "cpu", "PYTHON": "python", **env}
  done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)
  assert not check or done.returncode == 0, done.stderr
  return done


def commands(text):
  return [shlex.split(line) for line in text.splitlines()]


def test_shellcheck():
  shellcheck = Path(sys.executable).parent / "shellcheck"
  done = run(str(shellcheck), "--external-sources", *SCRIPTS, check=False)
  assert done.returncode == 0, done.stdout


def test_every_launcher_is_in_the_readme():
  text = (ROOT / "launch" / "README.md").read_text()
  inner = {"environment.sh", "common.sh"}
  files = {p.name for p in (ROOT / "launch").iterdir()} - inner - {"README.md", "__pycache__"}
  assert not [name for name in files if name not in text]


def test_local():
  assert commands(run("bash", "launch/local.sh", "--dry-run", *ARGUMENTS).stdout) == [TRAIN]


def test_multiprocess():
  done = run("bash", "launch/multiprocess.sh", "--dry-run", "--processes=3", *ARGUMENTS)
  lines = commands(done.stdout)
  assert len(lines) == 3
  for i, line in enumerate(lines):
    assert line[: 2 + len(TRAIN)] == ["env", f"JAX_LOCAL_DEVICE_IDS={i}", *TRAIN]
    assert line[-2:] == ["--num_processes=3", f"--process_id={i}"]
  assert len({line[-3] for line in lines}) == 1
  assert re.fullmatch(r"--coordinator=localhost:\d+", lines[0][-3])


def fake(directory, name, body):
  """Puts a program on the path that does `body` and notes how it was called."""
  path = directory / name
  path.write_text(
    f'#!/usr/bin/env bash\nprintf "%q " {name} "$@" >>"$CALLS"; echo >>"$CALLS"\n{body}\n'
  )
  path.chmod(path.stat().st_mode | stat.S_IXUSR)
  path_variable = f"{directory}:{os.environ['PATH']}"
  return {"CALLS": str(directory / "calls"), "PATH": path_variable}


def calls(directory):
  return commands((directory / "calls").read_text())


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (2, 1), (75, 1), (69, 3), (134, 3)])
def test_multiprocess_restarts_what_can_be_resumed(code, starts, tmp_path):
  env = fake(tmp_path, "trainer", f"exit {code}")
  command = ["bash", "launch/multiprocess.sh", "--processes=2", "--restarts=2", *ARGUMENTS]
  # What waits 15 s to end the processes that are left does not hold the output open.
  done = run(*command, check=False, timeout=12, **{**env, "PYTHON": "trainer"})
  assert done.returncode == code
  assert len(calls(tmp_path)) == 2 * starts


def test_multiprocess_passes_sigterm_on(tmp_path):
  body = 'trap "exit 75" TERM; while true; do sleep 0.05; done'
  env = {**os.environ, "DLM_JAX_PLATFORM": "cpu", **fake(tmp_path, "trainer", body)}
  command = ["bash", "launch/multiprocess.sh", *ARGUMENTS]
  launcher = subprocess.Popen(command, cwd=ROOT, env={**env, "PYTHON": "trainer"})
  while not (tmp_path / "calls").exists() or len(calls(tmp_path)) < 2:
    assert launcher.poll() is None
  launcher.terminate()
  assert launcher.wait(timeout=30) == 75


def test_slurm():
  done = run("bash", "launch/slurm.sbatch", "--dry-run", *ARGUMENTS)
  assert commands(done.stdout) == [["srun", "--kill-on-bad-exit=1", "--label", *TRAIN]]
  text = (ROOT / "launch" / "slurm.sbatch").read_text()
  options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.MULTILINE))
  assert options["ntasks-per-node"] == options["gpus-per-node"]
  assert "requeue" in options and options["signal"] == "TERM@120"


@pytest.mark.parametrize(
  ("code", "restarts", "requeued"), [(0, 0, 0), (2, 0, 0), (75, 0, 1), (1, 19, 1), (1, 20, 0)]
)
def test_slurm_requeues_what_can_be_resumed(code, restarts, requeued, tmp_path):
  env = fake(tmp_path, "srun", f"exit {code}") | fake(tmp_path, "scontrol", "")
  env |= {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
  done = run("bash", "launch/slurm.sbatch", *ARGUMENTS, check=False, **env)
  assert done.returncode == (0 if requeued else code)
  wanted = [["scontrol", "requeue", "7"]] * requeued
  assert calls(tmp_path)[1:] == wanted


def test_tpu_vm():
  done = run("bash", "launch/tpu_vm.sh", "--dry-run", *ARGUMENTS, **SLICE)
  create, install, train, delete = commands(done.stdout)
  assert create[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "slice"]
  assert "--spot" in create and "--runtime-version=v2-alpha-tpuv5-lite" in create
  for line in (install, train):
    assert line[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "slice"]
    assert "--worker=all" in line
  (command,) = (word.partition("=")[2] for word in train if word.startswith("--command"))
  assert shlex.split(command)[-len(ARGUMENTS) - 1 :] == ["launch/local.sh", *ARGUMENTS]
  assert delete[4:] == ["delete", "slice", "--force", "--quiet", "--zone=us-west4-a"]
  not_spot = run("bash", "launch/tpu_vm.sh", "--dry-run", *ARGUMENTS, **SLICE, SPOT="0")
  assert "--spot" not in not_spot.stdout
  only = run("bash", "launch/tpu_vm.sh", "--dry-run", "--delete", **SLICE)
  assert commands(only.stdout) == [delete]


# A cloud: the state of the slice is a file, which training preempts the first `PREEMPTIONS` times.
CLOUD = """
state=$(cat "$CLOUD/state" 2>/dev/null || true)
case "$*" in
  *describe*) [[ -n "$state" ]] && echo "$state" ;;
  *create*) echo ACTIVE >"$CLOUD/state" ;;
  *delete*) rm -f "$CLOUD/state" ;;
  *local.sh*)
    echo . >>"$CLOUD/trained"
    if (($(wc -l <"$CLOUD/trained") <= PREEMPTIONS)); then
      echo SUSPENDED >"$CLOUD/state"
      exit 255
    fi
    exit "$CODE"
    ;;
esac
"""


@pytest.mark.parametrize(
  ("code", "preemptions", "expected"),
  [
    (0, 0, "create train delete"),
    (0, 2, "create train delete create train delete create train delete"),
    (2, 0, "create train delete"),
    (1, 0, "create train train train delete"),
  ],
)
def test_tpu_vm_is_recreated_and_never_left(code, preemptions, expected, tmp_path):
  env = fake(tmp_path, "gcloud", CLOUD) | SLICE | {"CLOUD": str(tmp_path), "POLL": "0"}
  env |= {"CODE": str(code), "PREEMPTIONS": str(preemptions)}
  done = run("bash", "launch/tpu_vm.sh", *ARGUMENTS, check=False, **env)
  assert done.returncode == code, done.stderr
  kinds = {"create": "create", "delete": "delete", "local.sh": "train"}
  happened = [
    kind for call in calls(tmp_path) for word, kind in kinds.items() if word in " ".join(call)
  ]
  assert " ".join(happened) == expected


def jobset(*options):
  done = run(sys.executable, "launch/gke/run.py", *GKE, *options, "--", *ARGUMENTS)
  first, *manifest, last = done.stdout.splitlines()
  assert (first, last) == ("kubectl apply --filename - <<'END'", "END")
  return yaml.safe_load("\n".join(manifest))


def test_gke():
  manifest = jobset()
  jsonschema.validate(manifest, schemas.JOBSET)
  job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  assert job["parallelism"] == job["completions"] == 4  # 4x4 chips, 4 a host
  assert pod["containers"][0]["args"] == ARGUMENTS
  assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
  assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
  own = jobset("--no-spot", "--topology=2x2x4")
  jsonschema.validate(own, schemas.JOBSET)
  job = own["spec"]["replicatedJobs"][0]["template"]["spec"]
  assert "cloud.google.com/gke-spot" not in job["template"]["spec"]["nodeSelector"]


@pytest.mark.parametrize(
  ("option", "sentence"),
  [("--name=Run_1", "--name"), ("--topology=4by4", "--topology"), ("--chips=3", "16 chips")],
)
def test_gke_mistakes(option, sentence):
  done = run(sys.executable, "launch/gke/run.py", *GKE, option, "--", *ARGUMENTS, check=False)
  assert done.returncode == 1 and sentence in done.stderr


def test_skypilot():
  task = yaml.safe_load((ROOT / "launch" / "skypilot.yaml").read_text())
  jsonschema.validate(task, schemas.SKYPILOT)
  nodes = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2"}
  env = {**task["envs"], "DRY_RUN": "--dry-run", **nodes, "SKYPILOT_NODE_RANK": "1"}
  (line,) = commands(run("bash", "-c", task["run"], **env).stdout)
  place = ["--coordinator=10.0.0.1:8476", "--num_processes=2", "--process_id=1"]
  assert line == [*TRAIN[:3], *task["envs"]["ARGUMENTS"].split(), *place]
  mounts = tuple(task["file_mounts"])
  assert any(word.startswith(f"--workdir={mounts[0]}/") for word in line)


def test_sweep(tmp_path):
  sweep = [sys.executable, "launch/sweep.py", f"--config={CONFIG}", "--workdir=runs/x"]
  sweep += [
    "--set",
    "process.schedule.name=linear,cosine",
    "--set",
    "process.name=absorbing,uniform",
  ]
  lines = commands(run(*sweep, "--dry-run", "--", "--config.seed=3").stdout)
  assert [line[2:] for line in lines][2] == [
    f"--config={CONFIG}",
    "--workdir=runs/x/process.schedule.name=cosine,process.name=absorbing",
    "--config.process.schedule.name=cosine",
    "--config.process.name=absorbing",
    "--config.seed=3",
  ]
  assert all(line[:2] == ["bash", "launch/local.sh"] for line in lines) and len(lines) == 4
  env = fake(tmp_path, "launcher", '[[ "$*" != *cosine* ]] || exit 5')
  done = run(*sweep, "--launcher=launcher --dry-run", check=False, **env)
  assert done.returncode == 5
  assert [call[:2] for call in calls(tmp_path)] == [["launcher", "--dry-run"]] * 3


@pytest.mark.parametrize(
  ("setting", "sentence"),
  [
    ("process.nam=1,2", "has no field 'nam'"),
    ("process.name=absorbing,unifrm", "did you mean 'uniform'"),
    ("seed=1,1", "repeats a field or a value"),
    ("seed", "takes a field and its values"),
    ("seed=1,", "takes a field and its values"),
  ],
)
def test_sweeps_that_are_wrong(setting, sentence):
  command = [sys.executable, "launch/sweep.py", f"--config={CONFIG}", "--workdir=x", "--dry-run"]
  done = run(*command, "--set", setting, check=False)
  assert done.returncode == 2 and sentence in done.stderr, done.stderr
  assert done.stdout == ""


@pytest.mark.parametrize(
  ("platform", "variable"), [("cuda", "XLA_FLAGS"), ("tpu", "LIBTPU_INIT_ARGS")]
)
def test_flags(platform, variable):
  own = {"XLA_FLAGS": "--own=1", "LIBTPU_INIT_ARGS": "--own=1"}
  done = run("bash", "launch/flags.sh", "--dry-run", DLM_JAX_PLATFORM=platform, **own)
  exported = dict(line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines())
  flags = shlex.split(exported.pop(variable))[0].split()
  assert len(flags) > 3 and flags[-1] == "--own=1"
  assert exported and all(value == "'--own=1'" for value in exported.values())
  text = (ROOT / "launch" / "flags.sh").read_text().splitlines()
  for flag in flags[:-1]:
    (line,) = (i for i, words in enumerate(text) if words.strip() == flag)
    block = line
    while text[block].strip().startswith("--"):
      block -= 1
    assert text[block].strip().startswith("# "), f"{flag} has no reason"


def test_xla_knows_the_flags_of_gpus():
  done = run("bash", "launch/flags.sh", "--dry-run", DLM_JAX_PLATFORM="cuda", XLA_FLAGS="")
  flags = shlex.split(done.stdout)[1].partition("=")[2]
  start = "import jax; jax.devices()"
  run(sys.executable, "-c", start, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")
  unknown = run(sys.executable, "-c", start, check=False, XLA_FLAGS="--xla_gpu_no_such_flag=1")
  assert unknown.returncode != 0
