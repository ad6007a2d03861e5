"""The entries of the race: what each changes in the config of the quickstart as it stands."""

from typing import Any

ENTRIES: dict[str, dict[str, Any]] = {
  "quickstart": {},
  "before": {
    "network.heads": 1,
    "network.depth": 4,
    "network.qk_norm": False,
    "training.batch_size": 64,
  },
  "without_qk_norm": {"network.qk_norm": False},
  "batch_64": {"training.batch_size": 64},
  "depth_4": {"network.depth": 4},
  "depth_2_width_192": {"network.depth": 2, "network.width": 192, "network.heads": 3},
  "length_128": {"data.length": 128, "training.batch_size": 16},
  "swiglu": {"network.feedforward": "swiglu"},
  "autoregressive": {"method": "autoregressive"},
  "block": {"method": "block"},
}
