"""Records as the commands write them, to build reports from."""

import copy

PROTOCOL = {
  "step": 100,
  "weights": "ema",
  "process": {"name": "absorbing", "schedule": {"name": "linear"}},
  "packing": "stream",
  "dtype": "float32",
  "seed": 0,
  "environment": {
    "date": "2026-01-01T00:00:00+00:00",
    "git_revision": "abc",
    "device_kind": "cpu",
    "device_count": 1,
    "dataset_hash": "0123456789abcdef",
  },
  "config": {"data": {"length": 8}, "training": {"batch_size": 64}},
}
HOSTILE = "</script><script>window.broken = 1</script>"


def likelihood(bound=2.0, **protocol):
  """A record of `evaluate`; `protocol` are dotted names and their values."""
  value = {"value": bound, "standard_error": 0.01}
  units = ("nats_per_token", "bits_per_token", "bits_per_character", "perplexity")
  rows = [
    {
      "from": i / 4,
      "to": (i + 1) / 4,
      "draws": 9,
      "nats_per_token": bound * (1 + i / 10),
      "standard_error": 0.02,
      "variance": 0.1,
    }
    for i in range(4)
  ]
  profile = [
    {"position": i, "sequences": 9, "nats": bound, "standard_error": 0.1} for i in range(8)
  ]
  record = {
    "results": {unit: dict(value) for unit in units},
    "by_time": rows,
    "by_position": profile,
    "by_cluster": [{"rows": 3, "tokens": 24, "nats": bound * 24 + i} for i in range(3)],
    "protocol": {
      **copy.deepcopy(PROTOCOL),
      "quantity": "upper bound on the negative log-likelihood",
      "split": "test",
      "standard_error": "over 3 blocks of 3 neighbouring rows",
      "network_evaluations_per_sequence": 4,
    },
  }
  return _changed(record, protocol)


def samples(perplexity=20.0, text="some text", **protocol):
  """A record of `judge`, of two frames."""
  interval = {"value": perplexity, "low": perplexity * 0.9, "high": perplexity * 1.1}
  record = {
    "kind": "samples",
    "results": {
      "judge_perplexity_over_tokens": interval,
      "entropy": {"value": 2.5, "low": 2.4, "high": 2.6},
      "copied_16": None,
    },
    "reference": {},
    "mauve": {"value": None, "reason": "the package mauve-text is not installed"},
    "texts": [text, "another"],
    "trajectory": [["·"] * 3, ["a", "·", "<b>"], ["a", HOSTILE, "<b>"]],
    "protocol": {
      **copy.deepcopy(PROTOCOL),
      "sampler": "ancestral",
      "settings": {"steps": 8, "temperature": 1.0, "seed": 0, "workdir": "runs/x"},
      "network_evaluations": [8, 6],
      "tokens_per_second": 100.0,
      "judge": {"name": "autoregressive", "step": 100},
    },
  }
  return _changed(record, protocol)


def answers(share=0.5, **protocol):
  """A record of `evaluate --metric=exact_match`."""
  record = {
    "kind": "exact_match",
    "results": {"exact_match": {"value": share, "standard_error": 0.0137}},
    "answers": 1000,
    "protocol": {
      **copy.deepcopy(PROTOCOL),
      "settings": {"sampler": "confidence", "steps": 4, "temperature": 0.0, "seed": 0},
      "network_evaluations": [4, 4],
    },
  }
  return _changed(record, protocol)


def _changed(record, protocol):
  for name, value in protocol.items():
    *parents, last = name.split(".")
    place = record["protocol"]
    for parent in parents:
      place = place.setdefault(parent, {})
    place[last] = value
  return record
