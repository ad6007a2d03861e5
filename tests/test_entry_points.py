"""Each process trains, resumes, evaluates, samples and infills through the same commands."""

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.generation import prompts
from dlm_jax.generation.draw import DrawSettings, draw
from dlm_jax.model.model import load
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training.run import train
from tests import tiny

LINEAR = {"name": "linear"}
# The absorbing run is that of `test_train.py`.
CASES = {
  "uniform": {"name": "uniform", "schedule": LINEAR},
  "hybrid": {"name": "hybrid", "schedule": LINEAR, "p_u": 0.1},
  "gidd": {"name": "gidd", "dynamic_weights": True},
  "autoregressive": {"name": "autoregressive"},
  "block": {"name": "block", "inner": {"name": "absorbing"}, "block_size": 8},
  "block_of_duo": {
    "name": "block",
    "inner": {"name": "duo", "curriculum_steps": 8},
    "block_size": 8,
  },
  "score_absorbing": {"name": "score_absorbing"},
  "score_uniform": {"name": "score_uniform"},
  "generalized_absorbing": {"name": "generalized_absorbing"},
  "duo": {"name": "duo", "curriculum_steps": 8},
  "gaussian_plaid": {
    "name": "gaussian",
    "schedule": {"name": "monotone"},
    "self_conditioning": 0.5,
  },
  "gaussian_cdcd": {
    "name": "gaussian",
    "schedule": {"name": "warped"},
    "objective": "cross_entropy",
    "shared_head": True,
  },
  "gaussian_diffusion_lm": {
    "name": "gaussian",
    "schedule": {"name": "sqrt"},
    "objective": "mse",
    "parameterization": "epsilon",
  },
}
# These take the transformer, all others the second network: so each process has been under LLaMA.
TRANSFORMERS = ("block_of_duo", "gaussian_cdcd", "gaussian_diffusion_lm")
INFILL = "ab____ba"
# Where it is not one evaluation a step: one a token after that of the prompt, all on the left; or
# three of each of two blocks, and one to remember each; or one more that reads a continuous state.
EVALUATIONS = {
  "autoregressive": 1 + 14,
  "block": 3 + 1 + 3 + 1,
  "block_of_duo": 3 + 1 + 3 + 1,
  "gaussian_plaid": 6 + 1,
  "gaussian_cdcd": 6 + 1,
  "gaussian_diffusion_lm": 6 + 1,
}


CONTINUOUS = ("gaussian_plaid", "gaussian_cdcd", "gaussian_diffusion_lm")
# A network that says the noise is 0: half its 16 numbers squared, over the range of gamma.
WORST = {"gaussian_diffusion_lm": 16 / 2 * 14}


@pytest.fixture(scope="module", params=CASES)
def run(request, data, tmp_path_factory):
  """A run that was stopped in the middle and resumed, and the config of it."""
  workdir = tmp_path_factory.mktemp(request.param) / "run"
  network = "transformer" if request.param in TRANSFORMERS else "llama"
  fields = {"process": CASES[request.param], "network.name": network}
  fields |= {"network.time_conditioned": True}
  fields |= {"training.head_chunks": 2}
  half = {"training.steps": 6}
  assert train(tiny.config(data, **fields, **half), str(workdir)) == 0
  assert train(tiny.config(data, **fields), str(workdir)) == 0
  return workdir, fields


def name_of(run):
  return next(case for case, process in CASES.items() if process == run[1]["process"])


def losses(workdir):
  return [(row["step"], row["loss"]) for row in read_rows(workdir) if "loss" in row]


def test_resuming_is_bitwise_the_same(run, data, tmp_path):
  workdir, fields = run
  assert train(tiny.config(data, **fields), str(tmp_path / "whole")) == 0
  assert losses(workdir) == losses(tmp_path / "whole")
  assert [step for step, _ in losses(workdir)] == [2, 4, 6, 8, 10, 12]
  assert np.isfinite([loss for _, loss in losses(workdir)]).all()


@pytest.mark.slow
@pytest.mark.parametrize("run", ["gaussian_plaid"], indirect=True)
def test_a_continuous_run_is_the_same_on_another_mesh(run, data, tmp_path):
  workdir, fields = run
  fields |= {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2}
  assert train(tiny.config(data, **fields), str(tmp_path / "other")) == 0
  ours, other = (np.array(losses(path)) for path in (workdir, tmp_path / "other"))
  np.testing.assert_allclose(other, ours, rtol=2e-3)


def test_evaluates(run):
  workdir, _ = run
  record = evaluate(EvaluateSettings(workdir=str(workdir), samples=2))
  nats = record["results"]["nats_per_token"]["value"]
  # Five letters of 27 symbols: after a few steps it is no worse than knowing nothing.
  assert 0.5 < nats < WORST.get(name_of(run), np.log(27) * 1.2)


@pytest.mark.parametrize("run", CONTINUOUS, indirect=True)
def test_evaluates_through_the_probability_flow(run):
  workdir, _ = run
  record = evaluate(
    EvaluateSettings(workdir=str(workdir), samples=1, bound="flow", flow_steps=2, rows=16)
  )
  assert record["results"]["nats_per_token"]["value"] > 0.5
  each = 2 if name_of(run) == "gaussian_plaid" else 1  # self-conditioning
  assert record["protocol"]["network_evaluations_per_sequence"] == (2 * 2 + 1) * each
  assert record["protocol"]["flow_steps"] == 2 and record["bound"]["sequences"] == 16


def drawn_text(workdir, length=None, **known):
  """Three sequences of `length` tokens from the run; what was drawn, and as text."""
  model = load(str(workdir))
  prompt = prompts.read(model, prompts.check_length(model, length), **known)
  drawn = draw(DrawSettings(num=3, steps=6, trajectory=True), model, prompt)
  return drawn, [model.tokenizer.decode(row) for row in drawn.tokens]


@pytest.mark.proves("commands", process="{run}")
def test_samples_and_infills(run):
  workdir, _ = run
  name = name_of(run)
  prompted = name == "autoregressive"
  drawn, texts = drawn_text(workdir, **({"prompt": INFILL[:2]} if prompted else {"infill": INFILL}))
  assert drawn.num_evaluations == [EVALUATIONS.get(name, 6)]
  for text in texts:
    assert len(text) == 16 and text[:2] == "ab" and (prompted or text[6:8] == "ba")
  assert np.any(drawn.tokens[0] != drawn.tokens[1])
  if prompted:
    with pytest.raises(UserError, match="cannot see given tokens to the right"):
      drawn_text(workdir, infill=INFILL)


def test_only_blocks_go_on_beyond_the_trained_length(run):
  workdir, fields = run
  if fields["process"]["name"] == "block":
    drawn, texts = drawn_text(workdir, length=30, infill=INFILL)
    assert all(len(text) == 30 and text.startswith("ab") for text in texts)
    assert drawn.num_evaluations == [4 * (2 + 1)]  # of each of four blocks
  else:
    with pytest.raises(UserError, match=r"--length must lie in 1\.\.16 .*got 30"):
      drawn_text(workdir, length=30)
