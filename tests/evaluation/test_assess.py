"""The command that judges samples, from the files of `sample` to its record."""

import io
import json
import math
import shutil

import jax
import numpy as np
import pytest
from rich.console import Console

from dlm_jax.core.errors import UserError
from dlm_jax.data.tokenizers import letters
from dlm_jax.evaluation import assess, judges
from dlm_jax.evaluation.assess import JudgeSettings
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.evaluation.journal import Journal
from dlm_jax.evaluation.text_statistics import Interval
from dlm_jax.generation.output import SampleSettings, sample
from dlm_jax.reporting.report_files import ReportSettings, write_report
from tests import tiny


def test_a_judge_gives_the_nats_of_its_own_chain_rule():
  model = tiny.random(tiny.model("autoregressive"))
  nats, tokens = judges.trained_here(model, batch_size=2)(["abc", "hello there", "x" * 40])
  assert tokens.tolist() == [3, 11, 16]
  ids = letters.make().encode("abc")[None]
  denoise = model.denoiser()
  log_p = jax.nn.log_softmax(denoise(ids, np.zeros(1, np.float32)))[0, np.arange(3), ids[0]]
  assert nats[0] == pytest.approx(-float(log_p.sum()), rel=1e-5)


def test_a_judge_whose_likelihoods_are_not_numbers_is_refused():
  judge = judges.trained_here(tiny.diverged(tiny.model("autoregressive")), batch_size=2)
  with pytest.raises(UserError, match="weights of step 7 of the run nowhere give a text a likel"):
    judge(["abc", "def"])


def test_the_begin_symbol_stands_before_and_is_not_scored():
  tokens, given = judges.encoded(["abcdef"], letters.make().encode, 4, begin=27)
  assert tokens.tolist() == [[27, 1, 2, 3]] and given.tolist() == [[True, False, False, False]]


def test_rows_are_not_longer_than_texts_need():
  tokens, given = judges.encoded(["", "ab" * 17, "c"], letters.make().encode, 1 << 20, begin=None)
  assert tokens.shape == given.shape == (3, 64)
  assert (~given).sum(axis=1).tolist() == [0, 34, 1] and tokens[2, 0] == 3


def test_a_bound_is_no_judge():
  with pytest.raises(UserError, match="Absorbing, which only bounds"):
    judges.trained_here(tiny.model())


def test_a_judge_that_cannot_do_without_labels_is_refused():
  with pytest.raises(UserError, match="judging text needs a model that has learned to do without"):
    judges.trained_here(tiny.model("autoregressive", num_labels=2, label_dropout=0.0))


@pytest.fixture(scope="module")
def samples(runs, tmp_path_factory):
  """A file of samples with a trajectory."""
  output = tmp_path_factory.mktemp("samples") / "samples.jsonl"
  settings = SampleSettings(
    workdir=str(runs / "absorbing"), num=6, steps=4, trajectory=True, output=str(output)
  )
  sample(settings)
  return output


def test_the_record(runs, samples):
  settings = JudgeSettings(samples=str(samples), judge=str(runs / "autoregressive"), copied=(2,))
  record = assess.assess(settings)
  path = assess.record_path(settings)
  assert path.name == "samples.judged.json" and json.loads(path.read_text()) == record
  results, reference = record["results"], record["reference"]
  assert 1 < results["judge_perplexity_over_tokens"]["value"] < 60
  assert reference["copied_2"]["value"] > 0.95 > results["copied_2"]["value"]
  assert results.keys() == reference.keys() >= {"spelled", "entropy", "self_bleu_4", "distinct_3"}
  for value in filter(None, results.values()):
    assert value["low"] <= value["value"] <= value["high"]
  protocol = record["protocol"]
  assert protocol["judge"]["name"] == "autoregressive" and protocol["judge"]["step"] == 4
  assert protocol["network_evaluations"] == [4] and protocol["settings"]["steps"] == 4
  assert len(record["texts"]) == 6 and len(record["texts"][0]) == 16
  first, *_, last = record["trajectory"]
  assert set(first) == {"·"} and "".join(last) == record["texts"][0]
  console = Console(file=io.StringIO(), width=100)
  console.print(assess.table(record))
  assert "judge perplexity over tokens" in console.file.getvalue()


def test_the_report_is_built_from_what_the_commands_wrote(runs, samples, tmp_path):
  assess.assess(JudgeSettings(samples=str(samples), copied=()))
  for name in ("absorbing", "autoregressive"):
    evaluate(EvaluateSettings(workdir=str(runs / name), samples=2, seed=9))
    (tmp_path / name / "evaluations").mkdir(parents=True)
    (record,) = (runs / name / "evaluations").glob("*-seed9.json")
    shutil.copy(record, tmp_path / name / "evaluations")
    shutil.copy(runs / name / "metrics.jsonl", tmp_path / name)
  shutil.copy(samples.with_suffix(".judged.json"), tmp_path / "absorbing")
  workdirs = tuple(str(tmp_path / name) for name in ("absorbing", "autoregressive"))
  files = write_report(ReportSettings(runs=workdirs, output=str(tmp_path / "report")))
  markdown, html = (file.read_text() for file in files)
  assert markdown.count("### Likelihood") == markdown.count("### Samples") == 1
  assert "| absorbing | absorbing (linear) | ≤ " in markdown
  assert "| autoregressive | autoregressive (linear) | " in markdown
  assert html.count("<svg") == 3 and html.count('class="player"') == 1


def test_without_a_judge_the_rest_is_there(samples):
  record = assess.assess(JudgeSettings(samples=str(samples), copied=()))
  assert record["protocol"]["judge"] is None
  assert not any("perplexity" in name for name in record["results"])


def test_statistics_that_were_kept_are_not_computed_again(tmp_path):
  groups = {name: assess.Sequences([], [name]) for name in ("samples", "reference")}
  computed = []

  def of(name):
    def measure(group):
      computed.append((name, *group.texts))
      if len(computed) == 4:
        raise KeyboardInterrupt
      return {name: Interval(len(computed), 0.0, 9.0)}

    return measure

  measures = {name: of(name) for name in ("first", "second")}
  journal = Journal(tmp_path / "judged.jsonl", {"samples": "of the file"})
  with (
    pytest.raises(KeyboardInterrupt, match="statistics: 3"),
    journal.stoppable("statistics"),
  ):
    assess.statistics(groups, measures, journal)
  found = assess.statistics(groups, measures, journal)
  assert computed[3:] == [("second", "reference")] * 2
  assert [found[name]["second"]["value"] for name in groups] == [3, 5]
  assert list(found["samples"]) == ["first", "second"]


def test_texts_end_where_their_end_symbol_is():
  found = assess.sequences([[27, 1, 2, 28, 3], [1, 2]], letters.make(special=("bos", "eos")))
  assert found.texts == ["ab", "ab"] and found.tokens[0].tolist() == [1, 2]


@pytest.mark.parametrize(
  ("lines", "protocol", "sentence"),
  [
    ('{"tokens": [1]}\n{"tok', "{}", r"line 2 of .*\.jsonl is no sample\. Draw samples again"),
    ('{"tokens": [1]}\n{"tokens": "ab"}', "{}", "line 2 of"),
    ('{"tokens": [1]}\n' * 2, "{}", r"\.protocol\.json has no field 'config'"),
    ('{"tokens": [1]}\n' * 2, "{", r"\.protocol\.json is not JSON .*Draw samples again"),
  ],
)
def test_samples_that_are_damaged_are_named(tmp_path, lines, protocol, sentence):
  (tmp_path / "s.jsonl").write_text(lines)
  (tmp_path / "s.protocol.json").write_text(protocol)
  with pytest.raises(UserError, match=sentence):
    assess.assess(JudgeSettings(samples=str(tmp_path / "s.jsonl")))


def test_mistakes(samples, tmp_path):
  with pytest.raises(UserError, match="there is no file"):
    assess.assess(JudgeSettings(samples=str(tmp_path / "none.jsonl")))
  with pytest.raises(UserError, match=r"needs the package|cannot be loaded"):
    assess.assess(JudgeSettings(samples=str(samples), judge=str(tmp_path / "no")))


def test_the_judge_of_transformers_sums_over_all_tokens_but_the_first(tmp_path):
  torch = pytest.importorskip("torch", reason="the optional dependency torch is not installed")
  transformers = pytest.importorskip("transformers", reason="transformers is not installed")
  tokenizers = pytest.importorskip("tokenizers")
  words = tokenizers.models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="a")
  tokenizer = tokenizers.Tokenizer(words)
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
  config = transformers.GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=1, n_positions=4)
  model = transformers.GPT2LMHeadModel(config).eval()
  model.save_pretrained(tmp_path)
  nats, tokens = judges.of_transformers(str(tmp_path))(["a b c", "a", "c b a a b b"])
  assert tokens.tolist() == [2, 0, 3]
  ids = torch.tensor([[0, 1, 2]])
  assert nats[0] == pytest.approx(2 * float(model(ids, labels=ids).loss), rel=1e-4)
  assert math.isfinite(nats.sum())
