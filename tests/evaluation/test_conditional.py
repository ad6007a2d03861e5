"""log p(answer | prompt) against enumeration; and that nothing but the request matters."""

import json
import math

import jax
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.evaluation import conditional
from dlm_jax.evaluation.conditional import ConditionalScoring, ScoringRequest
from dlm_jax.evaluation.journal import Journal
from dlm_jax.processes import absorbing, uniform
from tests import tiny, toy

JOINT = toy.joint()
PROCESS = absorbing.make(vocab_size=JOINT.vocab_size, schedule={"name": "cosine"})
EXACT = toy.absorbing_denoiser(JOINT)
REQUESTS = [
  ScoringRequest((), (0, 1, 2)),
  ScoringRequest((2,), (0, 1)),
  ScoringRequest((1,), (1, 1)),
  ScoringRequest((0, 2), (1,)),
]


def scorer(process=PROCESS, denoise=EXACT, watch=iter, **settings):
  return conditional.scorer(
    process, lambda _: denoise, ConditionalScoring(**{"max_length": 3} | settings), watch
  )


def truth(request):
  tokens = np.array(request.prompt + request.answer)
  known = np.arange(3) < len(request.prompt)
  return math.log(JOINT.conditional(tokens, known)[JOINT.index(tokens[None])[0]])


def test_the_exact_denoiser_gives_the_conditional_likelihood():
  for request, score in zip(
    REQUESTS, scorer(samples=1024, batch_size=1024)(None, REQUESTS), strict=True
  ):
    assert abs(score.nats - truth(request)) < 4 * score.standard_error + 1e-5
    assert score.standard_error < 0.05 and not score.exact


def test_an_answer_of_one_token_takes_one_evaluation():
  (score,) = scorer()(None, REQUESTS[-1:])
  assert (score.draws, score.standard_error) == (1, 0.0)
  assert score.nats == pytest.approx(truth(REQUESTS[-1]), abs=1e-5)


def test_any_process_is_scored_by_its_bound():
  request = REQUESTS[1]
  given = np.arange(3) < 1
  denoise = toy.mixture_denoiser(JOINT, given=given)
  process = uniform.make(vocab_size=JOINT.vocab_size)
  (score,) = scorer(process, denoise, samples=4096, batch_size=4096)(None, [request])
  assert abs(score.nats - truth(request)) < 4 * score.standard_error < 0.6
  assert abs(truth(request)) > 1  # so that 0 would not do


def test_counts_of_masked_tokens_are_spread_evenly():
  request, n = ScoringRequest((0,), tuple(range(8))), 8
  t = conditional._stratified(request, 32, seed=0)
  times, scales = conditional._counts(PROCESS, t, n)
  counts = np.round(n / scales).astype(int)
  np.testing.assert_array_equal(np.bincount(counts, minlength=n + 1)[1:], 4)
  counted = conditional._counted(PROCESS)
  z = counted.corrupt(jax.random.key(0), np.zeros((32, n), np.int32), times)
  np.testing.assert_array_equal((z == PROCESS.mask_id).sum(axis=1), counts)
  assert np.any(t != conditional._stratified(request, 32, seed=1))


def test_neighbours_batches_and_devices_change_no_score():
  expected = scorer(samples=6)(None, REQUESTS)
  alone = [scorer(samples=6, batch_size=1)(None, [request])[0] for request in REQUESTS]
  spread = scorer(samples=6, batch_size=3, mesh=make_mesh({"data": -1}))(None, REQUESTS[::-1])
  for other in (alone, spread[::-1]):
    np.testing.assert_allclose([s.nats for s in other], [s.nats for s in expected], rtol=1e-6)
  assert scorer(samples=6)(None, [REQUESTS[1], REQUESTS[1]]) == [expected[1]] * 2
  assert scorer(samples=6, seed=1)(None, REQUESTS[:1]) != expected[:1]


def test_what_was_scored_before_a_crash_is_not_scored_again(tmp_path):
  record = tmp_path / "scores.jsonl"
  journal = Journal(record, {"step": 7, "process": {"name": "absorbing"}})
  settings = {"samples": 6, "batch_size": 6, "journal": journal}
  batches = []

  def crash(all_batches):
    for number, batch in enumerate(all_batches):
      if number == 2:
        raise KeyboardInterrupt
      yield batch

  def watch(all_batches):
    batches.append(len(all_batches))
    return all_batches

  with pytest.raises(KeyboardInterrupt):
    scorer(watch=crash, **settings)(None, REQUESTS)
  with record.open("a") as file:
    file.write('\n{"prompt": [0')  # the line that was being written
  found = scorer(watch=watch, **settings)(None, REQUESTS)
  assert found == scorer(samples=6, batch_size=6)(None, REQUESTS)
  assert batches == [2]  # of four, of which one is shared
  assert scorer(watch=watch, **settings)(None, REQUESTS) == found and batches[1:] == [0]
  others = [{"journal": Journal(record, journal.identity | {"step": 8})}]
  # Another process than that of training may score the same weights.
  scored = {"name": "absorbing", "weighting": "uniform"}
  others += [{"journal": Journal(record, journal.identity | {"process": scored})}]
  for other in (*others, {"samples": 7}, {"seed": 1}):
    scorer(watch=watch, **(settings | other))(None, REQUESTS[:1])
  assert batches[2:] == [1, 1, 2, 1]
  rows = [json.loads(line) for line in record.read_text().splitlines() if line.endswith("}")]
  assert len(rows) == len(REQUESTS) + 4


def test_an_autoregressive_network_is_exact_and_sees_no_padding():
  # Rows are filled up, but not beyond the positions that the network has.
  model = tiny.random(tiny.model("autoregressive", conditioning="none", learned_positions=16))
  scoring = ConditionalScoring(max_length=16, batch_size=2)
  score = conditional.scorer(model.process, model.denoiser, scoring)
  request = ScoringRequest((3, 1, 4), (1, 5))
  (found,) = score(model.params, [request])
  assert (found.draws, found.exact, found.standard_error) == (1, True, 0.0)
  tokens = np.array([request.prompt + request.answer], np.int32)
  logits = model.denoiser()(tokens, np.zeros(1, np.float32))
  log_p = jax.nn.log_softmax(logits)[0, np.arange(5), tokens[0]]
  assert found.nats == pytest.approx(float(log_p[3:].sum()), rel=1e-5)


def test_mistakes():
  with pytest.raises(UserError, match="without an answer"):
    scorer()(None, [ScoringRequest((1,), ())])
  with pytest.raises(UserError, match="4 tokens and the model's length is 3"):
    scorer()(None, [ScoringRequest((1, 2), (1, 2))])
  with pytest.raises(UserError, match="samples must be at least 1, got 0"):
    scorer(samples=0)
