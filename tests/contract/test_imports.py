"""Who may import whom, read from the imports themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# For each part of the project the parts it may import, beside itself. Entry points may import all.
ALLOWED = {
  "errors": set(),
  "dotted": set(),
  "remote": {"errors"},
  "resolve": {"errors"},
  "schedules": {"errors", "resolve"},
  "gamma_schedules": {"errors", "resolve", "schedules"},
  "visibility": set(),
  "soft_tokens": set(),
  "distributed": {"errors"},
  "processes": {"errors", "resolve", "schedules", "gamma_schedules", "soft_tokens", "visibility"},
  "networks": {"errors", "resolve", "distributed", "soft_tokens", "visibility"},
  "samplers": {"errors", "resolve", "processes", "schedules", "visibility"},
  "data": {"errors", "remote", "resolve", "distributed"},
  "evaluation": {
    "dotted",
    "errors",
    "resolve",
    "processes",
    "samplers",
    "distributed",
    "schedules",
    "visibility",
  },
  "training": {
    "dotted",
    "errors",
    "remote",
    "resolve",
    "processes",
    "networks",
    "distributed",
    "schedules",
    "visibility",
  },
}
ENTRY_POINTS = {
  "train",
  "evaluate",
  "sample",
  "prepare",
  "experiment",
  "commands",
  "clip",
  "judge",
  "report",
  "harness",
  "compile_check",
}
# Libraries that one place alone may know.
FENCED = {"flax": ["networks"], "orbax": ["training/checkpoint.py"], "grain": ["data"]}


def imports(path):
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path):
  """`dlm_jax/samplers/base.py` and `dlm_jax.samplers.base` are of the part `samplers`."""
  return path.relative_to(ROOT / "dlm_jax").with_suffix("").parts[0]


FILES = sorted((ROOT / "dlm_jax").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction_of_imports(path):
  part = part_of(path)
  for name in imports(path):
    words = name.split(".")
    for library, places in FENCED.items():
      if words[0] == library:
        assert any(str(path).startswith(str(ROOT / "dlm_jax" / place)) for place in places)
    if words[0] == "dlm_jax" and len(words) > 1 and part not in ENTRY_POINTS | {"__init__"}:
      assert words[1] in ALLOWED[part] | {part}, f"{part} must not import {name}"


def test_every_part_has_its_rule():
  assert {part_of(path) for path in FILES} == set(ALLOWED) | ENTRY_POINTS | {"__init__"}


@pytest.mark.parametrize(
  "path", sorted((ROOT / "configs").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_configs_import_nothing_but_their_siblings(path):
  assert {name.split(".")[0] for name in imports(path)} <= {"math", "ml_collections", "configs"}
