"""The command `generate`: answers of a checkpoint, on the terminal and as JSON lines."""

import json
import re

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.decoding import masked_model, named_decoders
from dlm_jax.generation import answer_output, chat_template, prompt_lines
from dlm_jax.generation.answer_output import main
from dlm_jax.generation.answering import answers
from dlm_jax.generation.generate_settings import GenerateSettings, presets_text
from tests import tiny
from tests.interop import checkpoints, parity

SMALL = {"length": "8", "block": "4", "rule.threshold": "0.3"}
TEMPLATE = (
  "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
  "{{ m.content }}.{% endfor %}"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  """LLaDA with a tokenizer of letters and a chat template."""
  found = checkpoints.copy("llada", tmp_path_factory.mktemp("generate") / "llada")
  checkpoints.add_tokenizer(found, mask=127)
  settings = {"chat_template": TEMPLATE}
  (found / "tokenizer_config.json").write_text(json.dumps(settings))
  return found


def settings(directory, **fields):
  fields = {"preset": "llada_fast", "decoder_settings": SMALL, "batch_size": 2} | fields
  return GenerateSettings(model=str(directory), **fields)


def test_lines_that_cannot_be_answered_are_told_and_the_others_go_on(directory, tmp_path, capsys):
  lines = [
    {"prompt": "the cat sat"},
    {"prompt": ""},
    {"messages": [{"role": "system", "content": "be good"}]},
    {"messages": [{"role": "user", "content": "a dog"}]},
    {"tokens": [1, 2, 500]},
    {"prompt": "a" * 60},
    {"text": "no"},
  ]
  prompts, output = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
  prompts.write_text("\n".join(map(json.dumps, lines)) + "\n")
  code = main(settings(directory, prompts=str(prompts), output=str(output), num=2, trajectory=True))
  assert code == 2
  said = capsys.readouterr()
  for number, message in {
    2: "is empty",
    3: ": the chat template of .* refuses the messages: no system",
    5: "has the token 500, but ids lie in 0..130",
    6: "has 60 tokens, which with an answer of 8 is more than the 64",
    7: "must be ",
  }.items():
    assert re.search(f"error: line {number} of .*{message}", said.err)
  written = [json.loads(line) for line in output.read_text().splitlines()]
  assert [(line["line"], line["answer"]) for line in written] == [(4, 0), (4, 1), (1, 0), (1, 1)]
  assert written[0]["tokens"] == written[1]["tokens"]  # at temperature 0
  assert all(1 <= line["network_evaluations"] <= 8 for line in written)
  protocol = json.loads(output.with_suffix(".protocol.json").read_text())
  assert protocol["decoder"]["rule"] == {
    "name": "threshold",
    "threshold": 0.3,
    "inclusive": True,
    "steps": 0,
  }
  assert protocol["answers"] == 4 and protocol["watched"]
  assert protocol["tokens"] == sum(len(line["tokens"]) for line in written)
  cost = protocol["tokens_per_evaluation"] * protocol["network_evaluations"]
  assert cost == pytest.approx(protocol["tokens"])
  assert "preset llada_fast" in said.out
  # The first answer, state by state, ends as it is printed below.
  states, _, _ = said.out.partition("line 4 of")
  assert "a dog." + 8 * "·" in states and written[0]["text"] in states


def test_an_answer_depends_on_the_numbers_of_its_prompt_and_its_own(directory, tmp_path):
  """Not on the batch, nor on the other prompts."""
  warm = {"temperature": "1.0", **SMALL}

  def tokens(lines, batch_size):
    prompts, output = tmp_path / "p.jsonl", tmp_path / "a.jsonl"
    prompts.write_text("\n".join(map(json.dumps, lines)) + "\n")
    fields = {"prompts": str(prompts), "output": str(output), "batch_size": batch_size}
    assert main(settings(directory, decoder_settings=warm, num=2, **fields)) == 0
    written = [json.loads(line) for line in output.read_text().splitlines()]
    return {(line["line"], line["answer"]): line["tokens"] for line in written}

  together = tokens([{"prompt": "one"}, {"prompt": "another"}], 4)
  alone = tokens([{"prompt": "something"}, {"prompt": "another"}], 2)
  assert together[2, 0] == alone[2, 0] and together[2, 1] == alone[2, 1]
  assert together[2, 0] != together[2, 1]


def test_a_step_beyond_the_last_is_refused_and_the_answer_is_kept(directory, tmp_path, capsys):
  output = tmp_path / "answers.jsonl"
  with pytest.raises(UserError, match=r"--show is 9, but the first answer was written in \d steps"):
    main(settings(directory, prompt="the cat", show=9, output=str(output)))
  assert "--prompt" in capsys.readouterr().out
  assert json.loads(output.read_text())["tokens"]
  assert json.loads(output.with_suffix(".protocol.json").read_text())["answers"] == 1


def test_a_preset_of_another_family_is_refused(directory):
  with pytest.raises(UserError, match="'dream' is of dream models, and this is a llada model"):
    main(settings(directory, prompt="a", preset="dream"))


def test_a_checkpoint_without_a_tokenizer_is_given_tokens():
  model = answer_output.load(str(parity.FIXTURES / "llada"))
  assert answer_output.text_of(model, np.array([3, 4])) == "3 4 "
  found = prompt_lines.read(settings(parity.FIXTURES / "llada", prompt="a"), model, 8)
  assert "has no tokenizer" in found[0].error


def test_the_template_of_a_checkpoint(directory, tmp_path):
  rendered = chat_template.read(directory).render([{"role": "user", "content": "hi"}])
  assert rendered == "hi."
  first = "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}"
  messages = [{"role": "user", "content": text} for text in ("a", "b")]
  assert chat_template.ChatTemplate(first, {}, "it").render(messages) == "a"
  with pytest.raises(UserError, match="has no chat template"):
    chat_template.read(tmp_path)


BLOCKS = {"name": "block", "inner": {"name": "absorbing"}, "block_size": 4}


@pytest.mark.parametrize(
  ("process", "preset", "network"),
  [
    ("absorbing", "greedy", {"time_conditioned": True}),
    (BLOCKS, "greedy", {}),
    ("uniform", "renoise", {"time_conditioned": True, "time_input": "sigma"}),
  ],
)
def test_a_run_of_this_project_answers_too(process, preset, network):
  """Its mask lies outside of the vocabulary, or it has none."""
  model = tiny.model(process, **network)
  assert named_decoders.default_of(None, masked_model.has_noise(model.process)) == preset
  made = named_decoders.of(preset, {"length": "6"}, None, preset == "renoise")
  (answer,) = answers(made, model, {0: model.tokenizer.encode("the cat")})
  assert answer.tokens.shape == (6,) and np.all(answer.tokens < model.tokenizer.vocab_size)


def test_an_autoregressive_run_is_refused():
  with pytest.raises(UserError, match=r"not for Autoregressive: .* dlm_jax.sample"):
    next(answers(named_decoders.of("greedy", {}), tiny.model("autoregressive"), {0: np.ones(1)}))
  in_blocks = tiny.model(BLOCKS, time_conditioned=True)
  with pytest.raises(UserError, match=r"given the time of each block"):
    next(answers(named_decoders.of("greedy", {}), in_blocks, {0: np.ones(1)}))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({}, "give --prompt .* or --prompts"),
    ({"prompt": "a", "prompts": "b"}, "give --prompt .* or --prompts"),
    ({"prompt": "a", "num": 0}, "--num must be at least 1"),
    ({"prompt": "a", "show": 0}, "--show must be at least 1"),
    ({"prompts": "a", "show": 1}, "--show prints a step of one answer"),
    ({"prompt": "a", "output": "no/such/place.jsonl"}, "directory of --output"),
    ({"prompt": "a", "output": "tests"}, "--output tests is a directory"),
    (
      {"prompts": "tests/conftest.py", "output": "./tests/../tests/conftest.py"},
      "is the file that",
    ),
  ],
)
def test_settings_that_cannot_be_are_refused(directory, fields, message):
  with pytest.raises(UserError, match=message):
    settings(directory, **fields)


def test_help_names_the_presets():
  assert "llada_fast_dual: Fast-dLLM" in presets_text()
