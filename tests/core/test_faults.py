"""A fault of the system is one sentence, whoever raises it; a mistake of the program is not."""

import errno

import pytest

from dlm_jax.core import faults
from dlm_jax.core.errors import UserError


def test_a_library_may_say_it_in_its_text_or_in_the_cause():
  text = "RESOURCE_EXHAUSTED: Failed to write 4 bytes: No space left on device [os_error_code='28']"
  wrapped = RuntimeError("pages of settings")
  wrapped.__cause__ = ValueError(text)
  for error in (OSError(errno.ENOSPC, "as it is"), ValueError(text), wrapped):
    assert faults.explain(error) == "No space left on device; make room on that disk."


def test_the_file_is_named():
  found = faults.explain(PermissionError(errno.EACCES, "no", "/a/b"))
  assert found == "/a/b: Permission denied; use another place, or get permission for this one."


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no", "x"), ValueError("28"), OSError("x")])
def test_other_errors_are_none(error):
  assert faults.explain(error) is None
  with pytest.raises(type(error)), faults.writing("it"):
    raise error


def test_what_cannot_be_written_is_named_once():
  with (
    pytest.raises(faults.SystemFault) as refused,
    faults.writing("all"),
    faults.writing("it"),
    open("/dev/full", "w") as file,
  ):
    file.write("x")
  assert str(refused.value) == (
    "it cannot be written: No space left on device; make room on that disk."
  )
  assert isinstance(refused.value, UserError)
