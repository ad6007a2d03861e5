"""Names resolve to modules one by one, and what is put in place at run time is no field."""

import dataclasses
import sys

import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A package of a good module, one that fails when it is imported, one that is no Python, and a
  helper that makes nothing."""
  directory = tmp_path / "chosen_parts"
  directory.mkdir()
  sources = {
    "__init__": "",
    "good": "def make(**fields):\n  return fields\n",
    "failing": "raise RuntimeError('imported')\n\n\ndef make(**fields):\n  return fields\n",
    "torn": "(\n\ndef make(**fields):\n  return fields\n",
    "helper": "make = None\n",
  }
  for name, source in sources.items():
    (directory / f"{name}.py").write_text(source)
  monkeypatch.syspath_prepend(tmp_path)
  yield "chosen_parts"
  for name in [name for name in sys.modules if name.startswith("chosen_parts")]:
    del sys.modules[name]


def test_a_broken_sibling_breaks_only_itself(package):
  assert resolve.names(package) == ["failing", "good", "torn"]
  assert resolve.make(package, {"name": "good", "a": 1}, b=2) == {"a": 1, "b": 2}
  with pytest.raises(RuntimeError, match="imported"):
    resolve.module(package, "failing")
  with pytest.raises(SyntaxError):
    resolve.module(package, "torn")


def test_an_unknown_name_is_answered_with_the_nearest(package):
  with pytest.raises(UserError, match=r"no chosen_part 'goood': did you mean 'good'\?.*torn"):
    resolve.module(package, "goood")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  size: int
  rate: float = 0.5
  learned: object = resolve.runtime()


def test_a_runtime_field_is_neither_accepted_nor_listed():
  with pytest.raises(UserError, match=r"no field 'learned': .*fields are size, rate\.$"):
    resolve.build(Part, {"size": 1, "learned": 2})
  assert resolve.build(Part, {"size": 1, "rate": None}) == Part(size=1)
