"""Who may import whom, read from the imports themselves."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# From left, which may import, to right. What a room may import of its own level is in `BESIDE`.
LEVELS = (
  {"reporting", "generation", "evaluation", "training"},
  {"interop", "decoding"},
  {"runs", "model", "data"},
  {"samplers", "networks", "distributed"},
  {"processes"},
  {"schedules"},
  {"core"},
)
BESIDE = {
  "evaluation": {"generation"},
  "reporting": {"evaluation"},
  "training": {"evaluation", "reporting"},
  "model": {"runs", "data"},
  "data": {"runs"},
  "networks": {"distributed"},
}
# Files beside the commands that are part of a room: a config's parts are what training needs.
FILES_OF_ROOMS = {"experiment": "training"}
# Mathematics and networks know nothing of each other.
NEVER = {
  "networks": {"processes", "schedules", "samplers"},
  "distributed": {"processes", "schedules"},
  "data": {"networks", "samplers", "processes", "schedules"},
  "runs": {"networks", "samplers", "processes", "schedules"},
}


def allowed(room):
  """The rooms that `room` may import, itself included."""
  level = next(i for i, rooms in enumerate(LEVELS) if room in rooms)
  below = set().union(*LEVELS[level + 1 :])
  return (below | BESIDE.get(room, set()) | {room}) - NEVER.get(room, set())


# Libraries that one place alone may know.
FENCED = {
  "flax": ["networks"],
  "orbax": ["runs/checkpoint.py", "runs/checkpointer.py"],
  "grain": ["data"],
}


def imports(path):
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
  """`dlm_jax/samplers/base.py` is in the room `samplers`; the commands, which have none, may import
  all rooms."""
  parts = path.relative_to(ROOT / "dlm_jax").parts
  return parts[0] if len(parts) > 1 else FILES_OF_ROOMS.get(path.stem)


FILES = sorted((ROOT / "dlm_jax").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction_of_imports(path):
  room = room_of(path)
  for name in imports(path):
    words = name.split(".")
    for library, places in FENCED.items():
      if words[0] == library:
        assert any(str(path).startswith(str(ROOT / "dlm_jax" / place)) for place in places)
    if words[0] == "dlm_jax" and len(words) > 1 and room is not None:
      assert FILES_OF_ROOMS.get(words[1], words[1]) in allowed(room), (
        f"{room} must not import {name}"
      )


def test_every_room_has_its_rule():
  rooms = {room_of(path) for path in FILES} - {None}
  assert rooms == set().union(*LEVELS)


@pytest.mark.parametrize(
  "path", sorted((ROOT / "configs").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_configs_import_nothing_but_their_siblings(path):
  own = {"ml_collections", "configs"} | sys.stdlib_module_names
  assert {name.split(".")[0] for name in imports(path)} <= own
