"""Sizes that networks are trained at, by name: the same for every network."""

from collections.abc import Mapping

from dlm_jax.core.errors import require_known

PRESETS: dict[str, dict[str, int | str]] = {
  "tiny": {"width": 512, "heads": 8, "depth": 8},
  "small": {"width": 768, "heads": 12, "depth": 12},
  "medium": {"width": 1024, "heads": 16, "depth": 24},
  "large": {"width": 1280, "heads": 20, "depth": 36},
  "1b": {"width": 2048, "heads": 16, "depth": 20, "remat": "full"},
  "7b": {"width": 4096, "heads": 32, "depth": 32, "remat": "full"},
}


def fields_of(preset: str, fields: Mapping[str, object]) -> dict[str, object]:
  """The fields of `preset` and over them those of `fields` that are not None.

  Raises:
    UserError: the preset is unknown.
  """
  require_known("network preset", preset, PRESETS)
  return PRESETS[preset] | {name: value for name, value in fields.items() if value is not None}
