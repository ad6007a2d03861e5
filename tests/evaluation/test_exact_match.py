"""Answers that are drawn, and how many of them are exactly right."""

import io

import numpy as np
import pytest
from rich.console import Console

from dlm_jax.core.errors import UserError
from dlm_jax.data.positions import ScoredPositions
from dlm_jax.data.store import Rows
from dlm_jax.data.tokenizers import character
from dlm_jax.evaluation import exact_match
from dlm_jax.evaluation.bound import evaluate
from dlm_jax.evaluation.evaluation_settings import EvaluateSettings
from tests import tiny

TOKENIZER = character.make(alphabet="abc").with_special(("eos",))
PROMPTS = np.array([2, 4, 3])


def rows(tokens, positions):
  return Rows(tokens, PROMPTS + 3, prompts=PROMPTS, positions=positions)


def settings(**fields):
  return EvaluateSettings(
    workdir="nowhere", metric="exact_match", split="test", batch_size=3, **fields
  )


@pytest.mark.parametrize(
  ("process", "padding", "how"),
  [
    ("absorbing", "ignored", {"sampler": "confidence", "steps": 2}),
    ("autoregressive", "end_learned", {}),
  ],
)
def test_an_answer_is_right_to_its_last_scored_token(process, padding, how):
  model = tiny.random(tiny.model(process, tokenizer=TOKENIZER, packing="pairs", length=8))
  positions, chosen = ScoredPositions(padding=padding), settings(**how)
  asked = np.random.default_rng(0).integers(0, 3, (3, 8), dtype=np.int32)
  asked[np.arange(8) >= (PROMPTS + 3)[:, None]] = TOKENIZER.eos_id
  is_prompt = np.arange(8) < PROMPTS[:, None]
  given = rows(asked, positions)[:]["given"]
  drawn = exact_match._drawn(chosen, model, asked, given if process == "absorbing" else is_prompt)
  np.testing.assert_array_equal(drawn.tokens[is_prompt], asked[is_prompt])

  # What the model draws is right, and it is not where one answer differs in its last token.
  record = exact_match.score(chosen, model, rows(drawn.tokens, positions))
  assert record["right"] == 3 and record["results"]["exact_match"] == {
    "value": 1.0,
    "standard_error": 0.0,
  }
  answers = drawn.tokens.copy()
  answers[1, 6] = (answers[1, 6] + 1) % 3
  record = exact_match.score(chosen, model, rows(answers, positions))
  assert record["results"]["exact_match"]["value"] == pytest.approx(2 / 3)
  assert record["protocol"]["padding"] == padding
  shown = io.StringIO()
  exact_match.show(Console(file=shown), record)
  assert "2 of 3 answers" in shown.getvalue()


def test_every_setting_is_in_the_name_of_the_record():
  chosen = settings(sampler="confidence", sampler_settings={"score": "margin"}, steps=4, rows=9)
  assert exact_match.record_name(chosen, 7, "ema") == (
    "evaluations/step7-test-ema-exact_match-confidence-score_margin-steps4-temperature0-seed0"
    "-rows9.json"
  )


def test_mistakes(runs):
  with pytest.raises(UserError, match="are of drawn answers, and a bound draws none"):
    EvaluateSettings(workdir="nowhere", steps=3)
  with pytest.raises(UserError, match=r"--corpus is of a bound"):
    settings(corpus="ptb")
  with pytest.raises(UserError, match="the rows of this data have no prompt"):
    evaluate(EvaluateSettings(workdir=str(runs / "absorbing"), metric="exact_match"))
