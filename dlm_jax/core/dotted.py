"""Nested mappings by dotted name, so that two configs or protocols are compared field by field."""

import json
from collections.abc import Mapping


def dotted(value: object, name: str = "") -> dict[str, str]:
  """The values of nested mappings by dotted name.

  They are JSON text, because to `==` True is 1 and NaN is not NaN.
  """
  if not isinstance(value, Mapping) or (name and not value):
    return {name: json.dumps(value)}
  found: dict[str, str] = {}
  for key, inner in value.items():
    found |= dotted(inner, f"{name}.{key}" if name else str(key))
  return found
