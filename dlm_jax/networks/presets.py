"""Sizes that networks are trained at, by name: the same for every network."""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from dlm_jax.core import resolve
from dlm_jax.core.errors import require_known
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.networks.base import Network

AnyNetwork = TypeVar("AnyNetwork", bound=Network)

PRESETS: dict[str, dict[str, int | str]] = {
  "tiny": {"width": 512, "heads": 8, "depth": 8},
  "small": {"width": 768, "heads": 12, "depth": 12},
  "medium": {"width": 1024, "heads": 16, "depth": 24},
  "large": {"width": 1280, "heads": 20, "depth": 36},
  "1b": {"width": 2048, "heads": 16, "depth": 20, "remat": "full"},
  "7b": {"width": 4096, "heads": 32, "depth": 32, "remat": "full"},
}


def build(
  cls: type[AnyNetwork],
  preset: str,
  fields: Mapping[str, object],
  interface: NetworkInterface,
  num_labels: int,
) -> AnyNetwork:
  """The network `cls` of the size `preset`, of which the `fields` that are not None are replaced.

  Raises:
    UserError: the preset or a field is unknown, or a value out of range.
  """
  require_known("network preset", preset, PRESETS)
  given = {name: value for name, value in fields.items() if value is not None}
  network = resolve.build(cls, PRESETS[preset] | given)
  return dataclasses.replace(network, interface=interface, num_labels=num_labels)
