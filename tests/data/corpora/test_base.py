import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.split_by_hash import SplitByHash


def test_split_of_follows_the_fractions():
  splits = [base.split_of(str(i), 0.1, 0.2) for i in range(5000)]
  assert 400 < splits.count("validation") < 600
  assert 850 < splits.count("test") < 1150
  assert splits == [base.split_of(str(i), 0.1, 0.2) for i in range(5000)]


def test_a_larger_fraction_takes_nothing_back_from_validation():
  for i in range(500):
    if base.split_of(str(i), 0.1, 0.0) == "validation":
      assert base.split_of(str(i), 0.2, 0.1) == "validation"


@pytest.mark.parametrize(("validation", "test"), [(0, 1), (0.5, 0.5)])
def test_fractions_must_leave_some_text(validation, test):
  with pytest.raises(UserError, match=r"corpus\.(validation|test)"):
    SplitByHash(validation=validation, test=test)


def test_a_split_of_nothing_is_no_split():
  assert SplitByHash(validation=0.1, test=0.0).splits == ("train", "validation")
