"""The harness's own runner on a task made here. Needs lm_eval, as the command does."""

import json
import math
from types import SimpleNamespace

import pytest

from dlm_jax import harness
from dlm_jax.core.errors import UserError
from tests.evaluation import tiny

TASK = """
task: letters
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: label
doc_to_choice: choices
metric_list: [{{metric: acc}}]
"""


@pytest.fixture
def workdir(tmp_path, monkeypatch):
  restored = tiny.restored(process_name="autoregressive")
  monkeypatch.setattr(harness.experiments, "restore", lambda *_, **__: restored)
  documents = tmp_path / "letters.jsonl"
  rows = [{"question": "ab", "choices": ["c", "de"], "label": i % 2} for i in range(4)]
  documents.write_text("\n".join(map(json.dumps, rows)))
  (tmp_path / "letters.yaml").write_text(TASK.format(path=documents))
  return tmp_path


@pytest.mark.parametrize("process", ["absorbing", "autoregressive"])
def test_model(process):
  pytest.importorskip("lm_eval", reason="the optional dependency lm_eval is not installed")
  from dlm_jax.evaluation.lm_eval_model import HarnessModel  # noqa: PLC0415

  model = HarnessModel(tiny.restored(process_name=process), samples=4)
  asked = [("ab", " c"), ("ab ", "c"), ("x" * 40, "c")]
  first, second, cut = model.loglikelihood([SimpleNamespace(args=args) for args in asked])
  assert first == second and first[0] < 0 and cut[0] < 0 and isinstance(first[1], bool)
  (whole,) = model.loglikelihood_rolling([SimpleNamespace(args=("abc" * 10,))])
  assert abs(whole + 30 * math.log(27)) < 0.5 * 30
  options = {"until": ["b"], "max_gen_toks": 6}
  (text,) = model.generate_until([SimpleNamespace(args=("ab", options))])
  assert len(text) <= 6 and "b" not in text
  # Greedy decoding finds what it would itself write, and only that.
  written = model.generate_until([SimpleNamespace(args=("ab", {"max_gen_toks": 3}))])[0]
  for answer, expected in ((written, True), ("zq" + written[2:], False)):
    request = model._request("ab", answer)
    assert model._greedy(request) is expected


def test_a_task_runs_and_its_record_says_what_it_depends_on(workdir):
  pytest.importorskip("lm_eval", reason="the optional dependency lm_eval is not installed")
  settings = harness.Settings(str(workdir), tasks=("letters",), task_path=str(workdir))
  record = harness.run(settings)
  assert record["results"]["letters"]["acc,none"] == 0.5  # the questions are all the same
  protocol = record["protocol"]
  assert protocol["likelihood"] == "exact" and protocol["network_evaluations_per_request"] == 1
  assert protocol["lm_eval"] and protocol["step"] == 7
  assert json.loads(harness.record_path(settings, 7).read_text())["kind"] == "harness"
  scores = (workdir / "harness" / "scores-step7-ema.jsonl").read_text()
  assert harness.run(settings)["results"] == record["results"]
  assert (workdir / "harness" / "scores-step7-ema.jsonl").read_text() == scores
  with pytest.raises(UserError, match="no task 'lettres'"):
    harness.run(harness.Settings(str(workdir), tasks=("lettres",), task_path=str(workdir)))


def test_without_the_harness_the_command_says_so(workdir, monkeypatch):
  monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match="pip install lm_eval"):
    harness.run(harness.Settings(str(workdir), tasks=("letters",)))
