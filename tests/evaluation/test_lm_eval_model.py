"""The adapter, and the harness's own runner on a task made here, which needs lm_eval."""

import dataclasses
import importlib
import json
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.evaluation import lm_eval_tasks
from dlm_jax.evaluation.decoded_answers import HarnessDecoder
from dlm_jax.evaluation.journal import Journal, identity
from dlm_jax.evaluation.lm_eval_tasks import HarnessSettings, run_tasks
from dlm_jax.generation import answering
from tests import tiny

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


def instance(*args, task="letters"):
  return SimpleNamespace(args=args, task_name=task)


@pytest.fixture
def task_path(tmp_path):
  documents = tmp_path / "letters.jsonl"
  rows = [{"question": "ab", "choices": ["c", "de"], "label": i % 2} for i in range(4)]
  documents.write_text("\n".join(map(json.dumps, rows)))
  (tmp_path / "letters.yaml").write_text(TASK.format(path=documents))
  return tmp_path


@pytest.fixture
def harness_model(monkeypatch):
  """The class of the adapter; where the harness is not installed, over a stand-in for its base."""
  if importlib.util.find_spec("lm_eval") is None:
    for name in ("lm_eval", "lm_eval.api", "lm_eval.api.instance", "lm_eval.api.model"):
      monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["lm_eval.api.instance"].Instance = SimpleNamespace
    sys.modules["lm_eval.api.model"].LM = type("LM", (), {})
    monkeypatch.delitem(sys.modules, "dlm_jax.evaluation.lm_eval_model", raising=False)
  return importlib.import_module("dlm_jax.evaluation.lm_eval_model").HarnessModel


@pytest.mark.parametrize("process", ["absorbing", "autoregressive"])
def test_model(process, harness_model):
  tiny_model = tiny.model(process)
  model = harness_model(tiny_model, samples=4)
  texts = [("ab", " c"), ("ab ", "c"), ("x" * 40, "c"), ("ab", ""), ("x", "c" * 40), ("ab", "?!")]
  first, second, cut, empty, long, refused = model.loglikelihood([instance(*t) for t in texts])
  assert first == second and first[0] < 0 and cut[0] < 0 and isinstance(first[1], bool)
  assert empty == (0.0, True) and refused == (-math.inf, False)
  assert model.refused == {"letters": ["the tokenizer leaves nothing of the continuation '?!'."]}
  whole, same = model.loglikelihood_rolling([instance("abc" * 10), instance("c" * 40)])
  assert abs(whole + 30 * math.log(27)) < 0.5 * 30
  assert long[0] == same  # of windows without room for a prompt
  options = {"until": "b", "max_gen_toks": "6"}
  text, none = model.generate_until([instance("ab", options), instance("ab", {"max_tokens": "x"})])
  assert len(text) <= 6 and "b" not in text and none == ""
  assert "max_tokens must be a whole number" in model.refused["letters"][1]
  # Greedy decoding finds what it would itself write, and only that, where a metric reads it.
  written = model.generate_until([instance("ab", {"max_gen_toks": 3})])[0]
  answers = [instance("ab", written), instance("ab", "zq" + written[2:])]
  assert [greedy for _, greedy in model.loglikelihood(answers)] == [True, False]
  silent = harness_model(tiny_model, samples=4, greedy_tasks={"other"})
  assert [greedy for _, greedy in silent.loglikelihood(answers)] == [False, False]


def test_a_decoder_writes_answers_and_a_journal_recalls_them(harness_model, monkeypatch, tmp_path):
  masked, calls, write = tiny.model(), [], answering.answers

  def counted(decoder, model, prompts, **options):
    calls.append(sorted(len(prompt) for prompt in prompts.values()))
    return write(decoder, model, prompts, **options)

  monkeypatch.setattr(answering, "answers", counted)
  settings = HarnessSettings(workdir="w", tasks=("letters",), decoder_settings={"length": "8"})
  decoder = HarnessDecoder.of(settings, masked)
  protocol = decoder.protocol(masked)
  assert protocol["preset"] == "greedy" and protocol["decoder"]["rule"]["name"] == "top_n"
  assert protocol["ends_at_end_token"] and protocol["end_token"] == masked.tokenizer.eos_id
  journal = Journal(tmp_path / "scores.jsonl")

  def texts(decoder):
    model = harness_model(masked, journal=journal, decoder=decoder)
    asked = [("ab", {"max_gen_toks": 8}), ("x" * 40, {"max_gen_toks": 3}), ("?!", {})]
    found = model.generate_until([instance(*question) for question in asked])
    assert "leaves nothing of the prompt '?!'" in model.refused["letters"][0]
    return found

  first, cut, none = texts(decoder)
  assert len(first) == 8 and len(cut) == 3 and none == ""
  assert calls == [[2, 8]]  # the beginning of a prompt goes, so that prompt and answer fit
  assert texts(decoder) == [first, cut, none] and calls == [[2, 8], []]
  longer = dataclasses.replace(settings, decoder_settings={"length": "9"})
  texts(HarnessDecoder.of(longer, masked))
  assert calls == [[2, 8], [], [2, 7]]


def test_a_model_that_cannot_do_without_labels_is_refused(harness_model):
  with pytest.raises(UserError, match="the harness needs a model that has learned to do without l"):
    harness_model(tiny.model(num_labels=2, label_dropout=0.0))


def test_the_decoder_is_that_of_the_family():
  settings, masked = HarnessSettings(workdir="w", tasks=("letters",)), tiny.model(length=256)
  for without_family in (masked, tiny.model("uniform")):
    assert HarnessDecoder.of(settings, without_family) is None
  config = {**masked.provenance.config, "family": "llada"}
  provenance = dataclasses.replace(masked.provenance, config=config)
  llada = dataclasses.replace(masked, provenance=provenance)
  assert HarnessDecoder.of(settings, llada).preset == "llada"
  with pytest.raises(UserError, match=r"128 tokens leaves no room .* lower --decoder.length"):
    HarnessDecoder.of(settings, dataclasses.replace(llada, length=128))


def test_a_task_runs_and_its_record_says_what_it_depends_on(runs, task_path):
  pytest.importorskip("lm_eval", reason="the optional dependency lm_eval is not installed")
  workdir = runs / "autoregressive"
  settings = HarnessSettings(workdir=str(workdir), tasks=("letters",), task_path=str(task_path))
  record = run_tasks(settings)
  assert record["results"]["letters"]["acc,none"] == 0.5  # the questions are all the same
  protocol = record["protocol"]
  assert protocol["likelihood"] == "exact" and protocol["network_evaluations_per_request"] == 1
  assert protocol["lm_eval"] and protocol["step"] == 4 and protocol["answers"] == "by the sampler"
  assert json.loads(lm_eval_tasks.record_path(settings, 4, "ema").read_text())["kind"] == "harness"
  scores = (workdir / "harness" / "scores-step4-ema.jsonl").read_text()
  assert run_tasks(settings)["results"] == record["results"]
  assert (workdir / "harness" / "scores-step4-ema.jsonl").read_text() == scores
  assert '"greedy"' not in scores  # which no metric of multiple choice reads
  assert record["refused"] == {}
  with pytest.raises(UserError, match="no task 'lettres': did you mean 'letters'"):
    run_tasks(dataclasses.replace(settings, tasks=("lettres",)))


def test_scores_are_those_of_the_process_and_the_code_that_score(monkeypatch):
  model = tiny.model()
  config = {**model.provenance.config, "evaluation": {"process": {"masking": "counted"}}}
  other = dataclasses.replace(
    model, provenance=dataclasses.replace(model.provenance, config=config)
  )
  first = identity(model)
  assert first == identity(model) != identity(other)
  monkeypatch.setattr("dlm_jax.runs.provenance.git_revision", lambda: "of later code")
  assert identity(model) != first


def test_without_the_harness_the_command_says_so(monkeypatch):
  monkeypatch.setattr(lm_eval_tasks.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match="pip install lm_eval"):
    run_tasks(HarnessSettings(workdir="nowhere", tasks=("letters",)))
