"""Where training starts from: which rule applies, and what it brings."""

import re

import jax
import numpy as np
import pytest

from dlm_jax import experiment
from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.interop import opening
from dlm_jax.model.model import load
from dlm_jax.networks import transformer
from dlm_jax.training import start
from dlm_jax.training.run import train
from tests import tiny
from tests.interop import checkpoints


class Checkpoints:
  """A directory of checkpoints, with one or without any."""

  def __init__(self, state=None):
    self.state = state

  def latest_step(self):
    return None if self.state is None else 7

  def restore(self, abstract, config):
    return self.state, {"step": 7}


@pytest.fixture(scope="module")
def other(data, tmp_path_factory):
  """The workdir of a run of two steps."""
  workdir = tmp_path_factory.mktemp("other") / "run"
  assert train(tiny.config(data, **{"training.steps": 2}), str(workdir)) == 0
  return workdir


def first(data, checkpoints, **fields):
  return start.first_state(experiment.build(tiny.config(data, **fields)), checkpoints)


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_starts_from_the_averaged_weights_of_another_run(data, other):
  state = first(data, Checkpoints(), **{"training.weights": str(other)})
  averaged = load(str(other)).params
  assert_equal(state.params, averaged)
  assert_equal(state.ema, averaged)
  assert int(state.step) == 0 and state.teacher is None
  drawn = first(data, Checkpoints())
  with pytest.raises(AssertionError):
    assert_equal(drawn.params, averaged)


def test_a_checkpoint_comes_before_every_other_start(data):
  fields = {"training.weights": "nowhere"}
  state = {"w": np.ones(2, np.float32), "step": np.int32(7)}
  assert first(data, Checkpoints(state), **fields) is state
  with pytest.raises(UserError, match="there is no run in nowhere"):
    first(data, Checkpoints(), **fields)


def test_a_checkpoint_that_is_not_finite_is_refused(data):
  state = {"w": np.array([1.0, np.inf], np.float32)}
  with pytest.raises(
    UserError, match="checkpoint of step 7 holds values that are not finite: move"
  ):
    first(data, Checkpoints(state))


def test_the_networks_must_be_one(data, other):
  fields = {"training.weights": str(other), "network.depth": 3}
  with pytest.raises(UserError, match=r"training\.weights .* has depth 2, .*network\.depth=2"):
    first(data, Checkpoints(), **fields)


def test_what_a_process_and_labels_learn_must_be_the_same(data, monkeypatch):
  fields = {"width": 32, "heads": 2, "depth": 2, "condition_width": 16}
  theirs = {"of text": tiny.model(**fields), "of labels": tiny.model(num_labels=3, **fields)}
  monkeypatch.setattr(start, "load", lambda path, **kwargs: theirs[path])
  with pytest.raises(
    UserError, match=r"of text have process/schedule/exponents of shape none, and"
  ):
    process = {"name": "generalized_absorbing"}
    first(data, Checkpoints(), process=process, **{"training.weights": "of text"})
  with pytest.raises(
    UserError, match=r"label_embedding of shape \(4, 16\), .* needs none: .*labels"
  ):
    first(data, Checkpoints(), **{"training.weights": "of labels"})


def test_what_the_processes_need_of_their_networks_is_named():
  theirs, ours = (
    transformer.make(interface=NetworkInterface(columns=5, num_embeddings=5, state_width=4, **form))
    for form in ({"self_conditioned": True}, {})
  )
  with pytest.raises(
    UserError, match=r"with self_conditioned True, .* one with self_conditioned F"
  ):
    start.require_same_network(theirs, ours, "training.weights", "runs/x")


# The process of each checkpoint that training goes on from.
RESUMED = {
  "llada": {"name": "absorbing", "mask_id": 127},
  "llada_moe": {"name": "absorbing", "mask_id": 141},
  "llada2_moe": {"name": "block", "block_size": 4, "inner.mask_id": 139},
  "dream": {"name": "absorbing", "mask_id": 134},
  "diffullama": {"name": "absorbing", "mask_id": 115},
  "qwen3_sdar": {"name": "block", "block_size": 4, "inner.mask_id": 135},
  "qwen3_moe_sdar": {"name": "block", "block_size": 4, "inner.mask_id": 129},
  "qwen3_a2d": {"name": "absorbing", "mask_id": 124},
  "fast_dllm_v2": {"name": "block", "block_size": 8, "inner.mask_id": 131},
  "ar_llama": {"name": "autoregressive", "begin_id": 1},
  "qwen3_ar": {"name": "autoregressive", "begin_id": 133},
  "ar_qwen2": {"name": "autoregressive", "begin_id": 119},
  "mdlm_time": {"name": "absorbing"},
  "bd3lm": {"name": "block", "block_size": 4},
  "sedd": {"name": "score_absorbing"},
  "duo": {"name": "duo"},
  "udlm": {"name": "uniform"},
  "gidd": {"name": "gidd"},
  "ar_gpt2": {"name": "autoregressive", "begin_id": 118},
  "diffugpt": {"name": "absorbing", "mask_id": 131},
}


@pytest.mark.opens("resume", "{name}")
@pytest.mark.parametrize("name", RESUMED)
def test_training_goes_on_from_a_checkpoint_of_others(name, data, tmp_path):
  process = RESUMED[name]
  directory = checkpoints.copy(name, tmp_path)
  checkpoints.add_tokenizer(directory, process.get("mask_id", process.get("inner.mask_id")))
  model = opening.load(str(directory))
  fields = {"training.weights": str(directory), "network.dtype": "float32"}
  with pytest.raises(UserError, match=r"embeddings and \d+ outputs, .*model_vocab_size"):
    first(data, Checkpoints(), **fields)
  tokenizer = str(directory / "tokenizer.json")
  fields |= {"data.tokenizer.name": "hf", "data.tokenizer.file": tokenizer}
  fields |= {f"process.{field}": value for field, value in process.items()}
  with pytest.raises(UserError, match="has its network, so set") as refused:
    first(data, Checkpoints(), **fields)
  fields |= dict(re.findall(r"--config\.(\S+)=(\S+?)\.?(?= |$)", str(refused.value)))
  assert ("network.label_shift" in fields) == model.network.label_shift
  state = first(data, Checkpoints(), **fields)
  assert_equal(state.params, model.params)
  assert_equal(state.ema, model.params)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("attention", "xla"),
    ("dropout", 0.25),
    ("dtype", "bfloat16"),
    ("initialization", "torch"),
    ("label_dropout", 0.25),
    ("remat", "full"),
    ("residual", "float32"),
    ("unroll", 2),
  ],
)
def test_a_run_that_starts_from_another_may_compute_and_train_in_its_own_way(field, value):
  interface = NetworkInterface(columns=5, num_embeddings=6)
  theirs, ours = (
    transformer.make(interface=interface, width=8, heads=2, depth=1, **fields)
    for fields in ({}, {field: value})
  )
  assert theirs != ours
  start.require_same_network(theirs, ours, "training.weights", "runs/x")
