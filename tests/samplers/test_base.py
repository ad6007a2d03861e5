"""A sampler from its name and the text of its settings."""

import dataclasses
from dataclasses import dataclass

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.samplers import base
from dlm_jax.samplers.remdm import Remdm


def test_settings_are_those_of_the_text_and_their_defaults():
  assert base.from_text("remdm", "strategy=loop,eta=0.05") == Remdm(strategy="loop", eta=0.05)
  assert base.from_text("ancestral", "").name == "ancestral"


@dataclass(frozen=True)
class Kinds:
  flag: bool = True
  count: int = 1


@pytest.mark.parametrize(("name", "text", "value"), [("flag", "False", False), ("count", "3", 3)])
def test_a_value_is_of_the_type_of_its_setting(name, text, value):
  fields = {field.name: field for field in dataclasses.fields(Kinds)}
  assert base.parsed("any", fields, name, text) is value


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("remdn", "", "did you mean 'remdm'"),
    ("remdm", "etta=1", "'remdm' has no setting 'etta': did you mean 'eta'.*strategy"),
    ("remdm", "eta=big", "the setting eta of 'remdm' is a float, got 'big'"),
    ("remdm", "eta=2", r"eta must lie in \[0, 1\]"),
    ("ancestral", "eta=1", "'ancestral' has no setting 'eta'.*none of its own"),
  ],
)
def test_mistakes_are_refused(name, text, message):
  with pytest.raises(UserError, match=message):
    base.from_text(name, text)
