"""The command that samples: prompts, settings and what it writes, over an untrained model."""

import dataclasses
import json

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.tokenizers import character, letters
from dlm_jax.generation import output, prompts
from dlm_jax.generation.draw import DrawSettings, draw
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


def read(length, prompt=None, infill=None, model=MODEL):
  found = prompts.read(model, length, prompt, infill)
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


def test_without_a_text_nothing_is_known():
  assert not read(8)[1].any()


def test_a_text_comes_after_the_symbol_that_begins_a_wrapped_row():
  tokenizer = character.make(alphabet="ab", special=("bos", "eos"))
  model = tiny.model(tokenizer=tokenizer, packing="wrapped")
  tokens, given = read(4, "ab", model=model)
  assert tokens[given].tolist() == [tokenizer.bos_id, 0, 1]
  assert not read(4, model=model)[1].any()


@pytest.mark.parametrize(
  "prompt, infill, message",
  [
    ("too long a text", None, "--prompt has 15 tokens, but the length is 8"),
    (None, "too ____ long", "--infill has 13 tokens, but the length is 8"),
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
