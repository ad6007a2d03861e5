"""The command that samples: prompts, settings and what it writes, over an untrained model."""

import dataclasses
import json

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.positions import ScoredPositions
from dlm_jax.data.tokenizers import character, letters
from dlm_jax.generation import output, prompts
from dlm_jax.generation.draw import DrawSettings, Samples, draw, draw_batches, join
from dlm_jax.generation.output import SampleSettings
from tests import tiny

TOKENIZER = letters.make()
MODEL = tiny.model()
LENGTH = 16


def settings(**fields):
  return SampleSettings(workdir="unused", **{"num": 3, "steps": 8} | fields)


def drawn(prompt=None, infill=None, **fields):
  chosen = DrawSettings(**{"num": 3, "steps": 8} | fields)
  return draw(chosen, MODEL, prompts.read(MODEL, LENGTH, prompt, infill))


def read(length, prompt=None, infill=None, model=MODEL, **fields):
  found = prompts.read(model, length, prompt, infill, **fields)
  return found.tokens, found.given


def test_a_prompt_comes_first():
  tokens, given = read(8, "the ")
  assert TOKENIZER.decode(tokens[given]) == "the "
  np.testing.assert_array_equal(given, np.arange(8) < 4)


def test_each_underscore_of_an_infilling_is_one_unknown_token():
  tokens, given = read(14, infill="the ____ sat")
  shown = "".join(
    TOKENIZER.decode(np.array([t])) if g else "_" for t, g in zip(tokens, given, strict=True)
  )
  assert shown == "the ____ sat__"


@pytest.mark.parametrize(
  ("text", "blank", "pieces"),
  [
    (r"a\nb\t\\n_", "_", ["a\nb\t\\n", None]),
    (r"a\_b__", "_", ["a_b", None, None]),
    (r"\\_\d", "_", ["\\", None, r"\d"]),
    ("a_b<?><?>c", "<?>", ["a_b", None, None, "c"]),
    (r"a\n_", None, ["a\n_"]),
    ("", "_", []),
  ],
)
def test_escapes_and_blanks(text, blank, pieces):
  assert prompts.pieces(text, blank, escapes=True) == pieces


def test_without_escapes_a_backslash_is_one():
  assert prompts.pieces(r"\n\_", "_") == [r"\n" + "\\", None]
  tokens, given = read(8, infill="a?b", blank="?")
  assert given[:3].tolist() == [True, False, True] and TOKENIZER.decode(tokens[:1]) == "a"


def test_texts_are_read_from_files(tmp_path):
  (tmp_path / "text").write_text("one\\n_\n\n")
  (tmp_path / "lines.jsonl").write_text('{"prompt": "a_\\n"}\n\n{"infill": "b_"}\n')
  path, lines = str(tmp_path / "text"), str(tmp_path / "lines.jsonl")
  assert settings(prompt_file=path).texts() == [("--prompt_file", ["one\\n_\n"])]
  assert settings(infill_file=path).texts() == [("--infill_file", ["one\\n", None, "\n"])]
  assert settings(prompts=lines).texts() == [
    (f"line 1 of {lines}", ["a_\n"]),
    (f"line 3 of {lines}", ["b", None]),
  ]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('{"prompt": "a"}\n{"prompt"', r"line 2 of .* must be an object .* got '\{\"prompt\"'"),
    ('"a"', "line 1 of .* must be an object"),
    ('{"prompt": "a", "infill": "b"}', "line 1 of .* must be an object"),
    ('{"prompt": 1}', "line 1 of .* must be an object"),
    ('{"text": "a"}', "line 1 of .* must be an object"),
    ("\n", "has no line"),
  ],
)
def test_lines_that_hold_no_prompt_are_named(tmp_path, text, message):
  (tmp_path / "lines.jsonl").write_text(text)
  with pytest.raises(UserError, match=message):
    settings(prompts=str(tmp_path / "lines.jsonl")).texts()


def test_a_file_of_prompts_that_is_not_there_is_named(tmp_path):
  with pytest.raises(UserError, match=r"none cannot be read \(No such file"):
    settings(prompt_file=str(tmp_path / "none")).texts()


def test_without_a_text_nothing_is_known():
  assert not read(8)[1].any()


def test_a_text_comes_after_the_symbol_that_begins_a_wrapped_row():
  tokenizer = character.make(alphabet="ab", special=("bos", "eos"))
  model = tiny.model(tokenizer=tokenizer, packing="wrapped")
  tokens, given = read(4, "ab", model=model)
  assert tokens[given].tolist() == [tokenizer.bos_id, 0, 1]
  assert not read(4, model=model)[1].any()


def test_a_model_that_was_never_scored_on_the_first_token_is_given_it():
  tokenizer = character.make(alphabet=" ab", special=("bos", "eos"))
  for packing, begin in (("wrapped", tokenizer.bos_id), ("stream", tokenizer.separator_id)):
    model = tiny.model(tokenizer=tokenizer, packing=packing)
    model = dataclasses.replace(model, positions=ScoredPositions("after_first"))
    tokens, given = read(4, model=model)
    assert tokens[given].tolist() == [begin] and given.tolist() == [True, False, False, False]
    tokens, given = read(4, "ab", model=model)
    assert tokens[given].tolist() == [begin, 1, 2]


@pytest.mark.parametrize(
  "prompt, infill, message",
  [
    ("too long a text", None, "the prompt has 15 tokens, but the length is 8"),
    (None, "too ____ long", "the infilling has 13 tokens, but the length is 8"),
    ("é", None, "characters outside .*: 'é'"),
    (None, "a_é", "characters outside .*: 'é'"),
    ("a_", None, "characters outside .*: '_'"),
  ],
)
def test_texts_that_the_model_cannot_hold(prompt, infill, message):
  with pytest.raises(UserError, match=message):
    read(8, prompt, infill)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"num": 0}, "--num must be at least 1, got 0"),
    ({"steps": 0}, "--steps must be at least 1, got 0"),
    ({"prompt": "a", "infill": "b_"}, "--prompt and --infill exclude each other"),
    ({"prompts": "a", "infill_file": "b"}, "--infill_file and --prompts exclude each other"),
    ({"blank": ""}, "--blank must be text without a backslash, got ''"),
    ({"sampler": "first_hiting"}, "did you mean 'first_hitting'.*ancestral, .*euler"),
    ({"grid": "cosin"}, "did you mean 'cosine'"),
    (
      {"sampler": "remdm", "sampler_settings": {"etta": "1"}},
      "'etta': did you mean 'eta'.*strategy",
    ),
    (
      {"sampler": "remdm", "sampler_settings": {"eta": "big"}},
      "--sampler.eta must be a number, got 'big'",
    ),
    (
      {"sampler": "ancestral", "sampler_settings": {"eta": "1"}},
      "'ancestral' has no field 'eta'.*no fields",
    ),
    ({"top_p": 0.0}, r"--top_p must lie in \(0, 1\]"),
    ({"temperature": -0.1}, "temperature must be at least 0"),
    ({"output": "/no/such/directory/x.jsonl"}, "does not exist"),
  ],
)
def test_mistakes_are_told_before_the_model_is_read(fields, message):
  with pytest.raises(UserError, match=message):
    settings(**fields)


@pytest.mark.parametrize("asked", [0, 17])
def test_a_length_that_was_not_trained(asked):
  with pytest.raises(UserError, match=rf"--length must lie in 1..16 .*got {asked}"):
    prompts.check_length(MODEL, asked)


def test_draws_keep_the_prompt_and_do_not_depend_on_the_batch():
  whole = drawn(prompt="the ", num=10, trajectory=True)
  parts = drawn(prompt="the ", num=10, batch_size=8)
  assert (len(whole.num_evaluations), len(parts.num_evaluations)) == (1, 2)
  np.testing.assert_array_equal(parts.tokens, whole.tokens)
  assert whole.tokens.shape == (10, LENGTH)
  assert all(TOKENIZER.decode(row).startswith("the ") for row in whole.tokens)
  np.testing.assert_array_equal(whole.trajectory[-1], whole.tokens[0])
  assert whole.tokens_per_second == pytest.approx(10 * 12 / whole.seconds)


@pytest.mark.parametrize("process", ["absorbing", "autoregressive"])
def test_predictions_that_are_not_numbers_give_no_text(process):
  model = tiny.diverged(tiny.model(process))
  with pytest.raises(UserError, match="of step 7 of the run nowhere predict what is not a number"):
    draw(DrawSettings(num=1, steps=2), model)


def test_prompts_of_any_length_are_drawn_together():
  given = [prompts.read(MODEL, LENGTH, "the "), prompts.read(MODEL, LENGTH, infill="a__b")]
  chosen = DrawSettings(num=2, steps=8)
  both = draw(dataclasses.replace(chosen, num=4), MODEL, prompts.rows(given, 2))
  alone = join(list(draw_batches(chosen, MODEL, given[1], np.array([2, 3]))))
  np.testing.assert_array_equal(both.tokens[2:], alone.tokens)
  np.testing.assert_array_equal(both.given, [given[0].given] * 2 + [given[1].given] * 2)
  assert all(TOKENIZER.decode(row).startswith("the ") for row in both.tokens[:2])


def test_one_infilling_among_prompts_that_a_model_cannot_see_is_refused():
  left_to_right = tiny.model("autoregressive")
  given = [prompts.read(left_to_right, LENGTH, **text) for text in ({}, {"infill": "a_b"})]
  with pytest.raises(UserError, match="writes from left to right"):
    draw(DrawSettings(num=2), left_to_right, prompts.rows(given, 1))


def test_sequences_are_drawn_of_each_line_of_prompts(tmp_path, monkeypatch):
  (tmp_path / "lines.jsonl").write_text('{"prompt": "a"}\n{"infill": "b_b"}\n')

  def copied(chosen, _, prompt):
    assert chosen.num == 4
    yield Samples(prompt.tokens, prompt.given, num_evaluations=[1], trajectory=None, seconds=1.0)

  monkeypatch.setattr(output, "load", lambda *_, **__: MODEL)
  monkeypatch.setattr(output, "draw_batches", copied)
  path = tmp_path / "samples.jsonl"
  output.sample(settings(num=2, prompts=str(tmp_path / "lines.jsonl"), output=str(path)))
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [(line["prompt"], line["text"][:3]) for line in lines] == [
    (0, "a  "),
    (0, "a  "),
    (1, "b b"),
    (1, "b b"),
  ]


def test_the_cache_is_on_for_a_network_that_takes_no_notice_of_time():
  (count,) = drawn(num=1, steps=200).num_evaluations
  assert count <= 8 * LENGTH  # eight rows: one a device of the tests


def test_the_default_sampler_takes_its_own_settings_alone():
  with pytest.raises(UserError, match="'ancestral' has no field 'eta'"):
    drawn(sampler_settings={"eta": 1})


def test_a_sampler_takes_its_own_settings():
  chosen = {"sampler": "remdm", "num": 4, "steps": 30, "trajectory": True}
  without = drawn(sampler_settings={"strategy": "rescale", "eta": 0}, **chosen).trajectory
  with_some = drawn(sampler_settings={"strategy": "rescale", "eta": "0.5"}, **chosen).trajectory
  masked = lambda frames: frames == MODEL.process.mask_id  # noqa: E731
  assert not np.any(~masked(without[:-1]) & masked(without[1:]))
  assert np.any(~masked(with_some[:-1]) & masked(with_some[1:]))


def test_each_batch_is_shown_and_written_as_it_comes(tmp_path, monkeypatch, capsys):
  samples = drawn(infill="the ____ sat", sampler="first_hitting", steps=16, trajectory=True)
  parts = [dataclasses.replace(samples, tokens=samples.tokens[part]) for part in ([0, 1], [2])]
  monkeypatch.setattr(output, "load", lambda *_, **__: MODEL)
  monkeypatch.setattr(output, "draw_batches", lambda *_: parts)
  path = tmp_path / "samples.jsonl"
  output.sample(settings(output=str(path)))
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [line["index"] for line in lines] == [0, 1, 2]
  np.testing.assert_array_equal([line["tokens"] for line in lines], samples.tokens)
  assert lines[0]["text"] == TOKENIZER.decode(samples.tokens[0])
  record = json.loads((tmp_path / "samples.protocol.json").read_text())
  assert record["network_evaluations"] == [8, 8]  # unknown positions
  assert record["settings"]["seed"] == 0 and record["step"] == 7
  assert record["environment"]["dataset_hash"] == "of the data"
  shown = capsys.readouterr().out
  for part in ("the ····", "sample 3", lines[2]["text"], "8 network evaluations", "tokens/s"):
    assert shown.count(part) == 1

  def stopped(*_):
    yield parts[0]
    assert path.read_text().count("\n") == 2
    raise KeyboardInterrupt

  monkeypatch.setattr(output, "draw_batches", stopped)
  with pytest.raises(KeyboardInterrupt, match=f"2 of 3 sequences were drawn; they are in {path}"):
    output.sample(settings(output=str(path)))
  assert path.read_text().splitlines() == [json.dumps(line) for line in lines[:2]]
  record = json.loads((tmp_path / "samples.protocol.json").read_text())
  assert record["network_evaluations"] == [8]
