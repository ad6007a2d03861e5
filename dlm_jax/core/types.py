"""Types that several rooms share."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

# Nested mappings whose leaves are arrays: the parameters of a network or of a process.
Params: TypeAlias = Mapping[str, Any]
# Any nesting of containers that `jax.tree` walks through, with arrays as leaves.
PyTree: TypeAlias = Any
# What `json.dumps` writes.
Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
# The fields of a part, as a config sets them.
Fields: TypeAlias = Mapping[str, object]
# A JSON object that is written as the record of a result and read back by its keys.
Record: TypeAlias = dict[str, Any]
