"""Continuations drawn together are those drawn alone, by one program for each form."""

import numpy as np
import pytest

from dlm_jax.evaluation import continuations
from dlm_jax.evaluation.conditional import ScoringRequest
from dlm_jax.evaluation.continuations import Continuation, Continuer
from dlm_jax.evaluation.journal import Journal
from dlm_jax.generation import draw
from tests import tiny

PROMPTS = [(1, 2), (3, 4), (5, 6), (1, 2, 3)]


@pytest.fixture
def programs(monkeypatch):
  """The (rows, length) of each program that is compiled to draw text."""
  compiled, make = [], draw._loop

  def counted(settings, model, rows, prompt):
    compiled.append((rows, prompt.length))
    return make(settings, model, rows, prompt)

  monkeypatch.setattr(draw, "_loop", counted)
  return compiled


def test_one_program_draws_all_of_a_form_and_a_journal_recalls_them(programs, tmp_path):
  model, journal = tiny.random(tiny.model()), Journal(tmp_path / "scores.jsonl", {"step": 7})
  wanted = [Continuation(prompt, 3) for prompt in PROMPTS]
  found = Continuer(model, batch_size=8, journal=journal)(wanted)
  assert programs == [(8, 6), (8, 5)]  # three prompts of one length, and a longer one
  assert all(len(tokens) == 3 for tokens in found)
  alone = Continuer(model, batch_size=8)([wanted[1]])
  assert alone == found[1:2]
  assert len(programs) == 3
  assert Continuer(model, journal=journal)(wanted) == found and len(programs) == 3
  assert Continuer(model, seed=1, journal=journal)(wanted[:1]) and len(programs) == 4


@pytest.mark.parametrize("process", ["absorbing", "autoregressive"])
def test_greedy_is_what_greedy_decoding_writes(process, programs):
  model = tiny.random(tiny.model(process, conditioning="none", learned_positions=16))
  continuer = Continuer(model, batch_size=8)
  (written,) = continuer([Continuation((1, 2), 3)])
  changed = ((written[0] + 1) % 27, *written[1:])
  requests = [ScoringRequest((1, 2), written), ScoringRequest((1, 2), changed)]
  before = len(programs)
  assert continuer.greedy(requests) == [True, False]
  # An autoregressive network is asked once; the other decodes the prompt, both answers at once.
  assert len(programs) - before == (1 if process == "absorbing" else 0)


def test_tokens_that_are_unmasked_one_by_one_are_decoded(monkeypatch):
  """Their likelihood is exact as well, but the network sees each token in the place of its own."""
  model = tiny.model({"name": "block", "block_size": 1, "inner": "absorbing"})
  assert model.process.exact
  monkeypatch.setattr(Continuer, "__call__", lambda self, wanted: [(5,)] * len(wanted))
  requests = [ScoringRequest((1,), (4,)), ScoringRequest((1,), (5,))]
  assert Continuer(model).greedy(requests) == [False, True]


def test_the_most_likely_tokens_do_not_depend_on_the_padding():
  model = tiny.random(tiny.model("autoregressive", length=64))
  best = continuations._best_tokens(model)
  row = np.random.default_rng(0).integers(1, 27, (8, 64), dtype=np.int32)
  cut = np.where(np.arange(64) < 20, row, 0)
  found, of_cut = (np.asarray(best(model.params, tokens))[:, :20] for tokens in (row, cut))
  np.testing.assert_array_equal(found, of_cut)
  assert len(np.unique(found)) > 2
