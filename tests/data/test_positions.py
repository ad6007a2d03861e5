import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.positions import LEARNED, PADDING, ScoredPositions

LENGTHS = np.array([2, 4])
PADS = [[False, False, True, True], [False] * 4]


def masks(**fields):
  found = ScoredPositions(**fields).masks((2, 4), LENGTHS)
  return {name: mask.tolist() for name, mask in found.items()}


def test_padding_is_given_or_noised_or_text():
  assert masks() == {"given": PADS}
  assert masks(padding="noised_unscored") == {"unscored": PADS}
  assert masks(padding="scored") == {}
  assert ScoredPositions(padding="noised_unscored").masks((2, 4), None) == {}


def test_the_first_token_is_given_beside_the_padding():
  first = [[True, False, False, False]] * 2
  assert masks(scored="after_first", padding="noised_unscored") == {
    "given": first,
    "unscored": PADS,
  }
  both = (np.array(first) | np.array(PADS)).tolist()
  assert masks(scored="after_first") == {"given": both}
  assert ScoredPositions("after_first").masks((4,), None)["given"].tolist() == first[0]


def test_a_prompt_is_given_and_the_end_of_its_answer_learned():
  prompts = np.array([1, 3])
  at_prompt = [[True, False, False, False], [True, True, True, False]]
  learned = ScoredPositions(padding="end_learned").masks((2, 4), LENGTHS, prompts)
  assert {name: mask.tolist() for name, mask in learned.items()} == {"given": at_prompt}
  ignored = ScoredPositions().masks((2, 4), LENGTHS, prompts)["given"]
  assert ignored.tolist() == (np.array(at_prompt) | np.array(PADS)).tolist()
  counts = {"rows": 2, "tokens": 2, "characters": 6, "prompt_tokens": 4}
  per_token = lambda *fields: ScoredPositions(*fields).characters_per_token(  # noqa: E731
    counts, 4, begins_with_symbol=False
  )
  assert per_token() == per_token("after_first") == 6 / 2
  assert per_token("all", "end_learned") == 6 / 4


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("begins", [True, False])
def test_characters_are_those_of_the_tokens_that_are_scored(padding, begins):
  counts = {"rows": 10, "tokens": 60, "characters": 120}
  tokens = 80 if padding in LEARNED else 60
  whole = ScoredPositions(padding=padding)
  assert whole.characters_per_token(counts, 8, begins_with_symbol=begins) == 120 / tokens
  # Where the first token is text, its share of the characters goes with it.
  characters = 120 if begins else 120 * 50 / 60
  rest = ScoredPositions("after_first", padding)
  found = rest.characters_per_token(counts, 8, begins_with_symbol=begins)
  assert found == pytest.approx(characters / (tokens - 10))


def test_mistakes():
  with pytest.raises(UserError, match=r"no data.scored 'first': did you mean 'after_first'"):
    ScoredPositions("first")
  with pytest.raises(UserError, match=r"no data.padding 'noised'.*noised_unscored"):
    ScoredPositions(padding="noised")
