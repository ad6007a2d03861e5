"""Answers of any length, with a continuer that only counts, and options of every type."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.tokenizers import letters
from dlm_jax.evaluation.answers import AnswerOptions, Question, answers

TOKENIZER = letters.make(special=("bos", "eos"))
LENGTH = 8


@dataclass
class Counter:
  """Each token is the one before it in the alphabet, plus one; `windows` is what was asked for."""

  windows: list = field(default_factory=list)
  model = SimpleNamespace(tokenizer=TOKENIZER, length=LENGTH)

  def __call__(self, wanted):
    self.windows.append([(len(each.prompt), each.num_tokens) for each in wanted])
    return [tuple(each.prompt[-1] + 1 + n for n in range(each.num_tokens)) for each in wanted]


def options(**given):
  return AnswerOptions.read(given, LENGTH // 2)


def ask(*questions):
  continuer = Counter()
  found = answers(
    [Question(tuple(TOKENIZER.encode(text)), how) for text, how in questions], continuer
  )
  return found, continuer.windows


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ({}, ((), 4, 0.0)),
    ({"until": "stop", "max_gen_toks": "64", "temperature": "0.5"}, (("stop",), 64, 0.5)),
    ({"until": None, "max_gen_toks": None, "temperature": None}, ((), 4, 0.0)),
    ({"until": ["a", "", "\n"], "max_new_tokens": 3.0, "temperature": 1}, (("a", "\n"), 3, 1)),
    ({"do_sample": True, "max_gen_toks": 0}, ((), 0, 1.0)),
    ({"do_sample": "false", "temperature": 0.7, "max_tokens": "1e3"}, ((), 1000, 0.0)),
  ],
)
def test_options_are_read_in_every_type_that_the_harness_gives(given, expected):
  found = options(**given)
  assert (found.until, found.max_tokens, found.temperature) == expected


@pytest.mark.parametrize(
  ("given", "sentence"),
  [
    ({"max_gen_toks": "many"}, "max_gen_toks must be a whole number or none, got 'many'"),
    ({"max_gen_toks": -1}, "max_gen_toks must be at least 0, got -1"),
    ({"temperature": float("nan")}, "temperature must be finite, got nan"),
    ({"do_sample": "perhaps"}, "do_sample must be true or false or none, got 'perhaps'"),
  ],
)
def test_options_that_cannot_be_honoured(given, sentence):
  with pytest.raises(UserError, match=sentence):
    options(**given)


def test_an_answer_ends_before_its_string_and_not_at_each_of_its_letters():
  found, _ = ask(("a", options(until="de")), ("a", options(until=None)), ("a", options(until="xb")))
  assert found == ["bc", "bcde", "bcde"]


def test_answers_of_every_length_are_drawn_window_after_window():
  asked = [("a", options(max_gen_toks=15)), ("abcdefghij", options(max_gen_toks=6, until=["n"]))]
  found, windows = ask(*asked, ("a", options(max_gen_toks=0)))
  assert found == ["bcdefghijklmnop", "klm", ""]
  # All that a row holds beside the prompt, which keeps half of a row where it is longer.
  assert windows == [[(1, 7), (4, 4)], [(4, 4)], [(4, 4)]]


def test_an_answer_ends_with_its_text():
  found, windows = ask(("v", options(max_gen_toks=40)))
  assert found == ["wxyz"] and len(windows) == 1  # the next two are the begin and the end
