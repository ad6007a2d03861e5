"""A damaged JSON file is named in one sentence, with the way out."""

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.json_files import read_object, read_objects


@pytest.mark.parametrize(
  ("content", "sentence"),
  [
    (None, "is missing"),
    (b'{"a": 1', "is not JSON"),
    (b"\xff\xfe", "is not JSON"),
    (b"[]", "holds a list in the place of an object"),
    (b"null", "holds null in the place"),
    (b"{}", "has no field 'a'"),
    (b'{"a": "1"}', "has text as 'a', which must be a whole number"),
    (b'{"a": true}', "has true as 'a', which must be a whole number"),
  ],
)
def test_what_is_wrong_with_a_file(tmp_path, content, sentence):
  path = tmp_path / "x.json"
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UserError, match=sentence) as refused:
    read_object(path, {"a": int}, way_out="Write it again.")
  assert str(refused.value).startswith(f"{path} ")
  assert str(refused.value).endswith(". Write it again.")


def test_reads_what_is_there(tmp_path):
  path = tmp_path / "x.json"
  path.write_text('{"a": 1, "b": null}')
  assert read_object(path, {"a": int}, way_out="") == {"a": 1, "b": None}
  # A line ends at a newline, and not at the other ends of lines that Unicode has.
  path.write_bytes('{"a": "\u2028"}\n[]\n\n{"a": 2}'.encode() + b"\n\xff")
  assert read_objects(path) == [{"a": "\u2028"}, None, None, {"a": 2}, None]
