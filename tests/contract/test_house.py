"""The rules of the house, read from the source: sizes, names, imports, types.

A rule that does not hold everywhere yet has a limit in `LIMITS`: how many places may still break
it. A limit only ever goes down.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FUNCTION_LINES, FILE_LINES, ARGUMENTS = 60, 300, 8

# The aliases that everybody in the field writes.
ALIASES = {"numpy": "np", "jax.numpy": "jnp", "flax.linen": "nn"}
ALIASES |= {"jax.sharding.PartitionSpec": "P", "matplotlib.pyplot": "plt"}
# A room's contract is in its `base`.
SHARED_MODULES = {"base"}
# A family of checkpoints may be called what its process is; no file imports it by that name.
FOUND_BY_NAME = "families"
# Attributes of other libraries' objects, which have no type that says whether they are there.
FOREIGN_ATTRIBUTES = {"max_position_embeddings"}
# Signatures where `Any` says what is meant: a function of any function, a value of any type.
ANY_ALLOWED = {
  "distributed/cluster.py:compile_together": "a function under jax.jit, its arguments and result",
  "core/resolve.py:make": "the dataclass that the config names",
  "core/resolve.py:part": "a field of any type",
}
# Places that still break a rule.
LIMITS = {
  "signatures say more than Any": 0,
}


@cache
def sources():
  """The path and the syntax tree of each file of the package."""
  paths = sorted((ROOT / "dlm_jax").rglob("*.py"))
  return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def nodes(*kinds):
  """The path below dlm_jax/ and each node of these kinds."""
  for path, tree in sources():
    for node in ast.walk(tree):
      if isinstance(node, kinds):
        yield path.relative_to(ROOT / "dlm_jax").as_posix(), node


def functions():
  return nodes(ast.FunctionDef, ast.AsyncFunctionDef)


def parameters(function):
  """The parameters that a caller gives by position or by name."""
  arguments = function.args
  every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
  return [argument for argument in every if argument.arg not in ("self", "cls")]


def long_functions():
  for path, function in functions():
    if function.end_lineno - function.lineno >= FUNCTION_LINES:
      yield f"{path}:{function.lineno} {function.name}"


def long_files():
  for path, _ in sources():
    if len(path.read_text(encoding="utf-8").splitlines()) > FILE_LINES:
      yield str(path.relative_to(ROOT))


def many_arguments():
  for path, function in functions():
    if len(parameters(function)) > ARGUMENTS:
      yield f"{path}:{function.lineno} {function.name}"


def module_collisions():
  places = defaultdict(list)
  for path, _ in sources():
    if path.stem not in {"__init__", *SHARED_MODULES} and path.parent.name != FOUND_BY_NAME:
      places[path.stem].append(str(path.relative_to(ROOT)))
  yield from (f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1)


def class_collisions():
  places = defaultdict(list)
  for path, node in nodes(ast.ClassDef):
    places[node.name].append(path)
  yield from (f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1)


def import_aliases():
  for path, node in nodes(ast.Import, ast.ImportFrom):
    prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
      if alias.asname and ALIASES.get(prefix + alias.name) != alias.asname:
        yield f"{path}:{node.lineno} {prefix}{alias.name} as {alias.asname}"


def attributes_by_name():
  for path, call in nodes(ast.Call):
    if isinstance(call.func, ast.Name) and call.func.id in ("hasattr", "getattr"):
      name = call.args[1]
      if isinstance(name, ast.Constant) and name.value not in FOREIGN_ATTRIBUTES:
        yield f"{path}:{call.lineno} {call.func.id} {name.value!r}"


def any_in_signatures():
  for path, function in functions():
    if f"{path}:{function.name}" in ANY_ALLOWED:
      continue
    arguments = function.args
    every = [*parameters(function), *filter(None, (arguments.vararg, arguments.kwarg))]
    hints = [argument.annotation for argument in every] + [function.returns]
    if any(re.search(r"\bAny\b", ast.unparse(hint)) for hint in hints if hint is not None):
      yield f"{path}:{function.lineno} {function.name}"


def paths_of_settings():
  """Paths that a person wrote, made without `storage.expand`, which knows the home directory."""
  for path, call in nodes(ast.Call):
    made = ast.unparse(call.func).rpartition(".")[2]
    written = call.args and re.fullmatch(r"(self|settings|spec)\.\w+", ast.unparse(call.args[0]))
    if path != "core/storage.py" and (made == "expanduser" or (made == "Path" and written)):
      yield f"{path}:{call.lineno} {ast.unparse(call)}"


RULES = {
  f"functions have at most {FUNCTION_LINES} lines": long_functions,
  f"files have at most {FILE_LINES} lines": long_files,
  f"functions take at most {ARGUMENTS} arguments": many_arguments,
  "no two modules have one name": module_collisions,
  "no two classes have one name": class_collisions,
  "imports have no alias": import_aliases,
  "no attribute is asked for by its name as a text": attributes_by_name,
  "signatures say more than Any": any_in_signatures,
  "paths of settings go through storage.expand": paths_of_settings,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds(rule):
  places = list(RULES[rule]())
  listed = "\n".join(places)
  assert len(places) <= LIMITS.get(rule, 0), f"{len(places)} places break it:\n{listed}"
