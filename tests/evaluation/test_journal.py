"""Results kept as they come: what a stopped command says, and what a full disk does."""

import pytest

from dlm_jax.evaluation.journal import Journal


def test_ctrl_c_says_how_much_is_kept_and_where(tmp_path):
  path = tmp_path / "evaluations" / "scores.jsonl"
  journal, other = Journal(path, {"step": 7}), Journal(path, {"step": 8})
  for key in range(3):
    journal.write("score", {"seed": key}, key, 0.5)
  other.write("score", {"seed": 0}, 0, 0.5)
  sentence = rf"\(scores: 3\) is kept in {path}, and the same command goes on from there$"
  with pytest.raises(KeyboardInterrupt, match=sentence), journal.stoppable("scores"):
    raise KeyboardInterrupt
  journal.remove()
  journal.remove()
  assert not path.exists() and list(journal.read("score", {"seed": 0})) == []


def test_where_nothing_can_be_written_the_command_goes_on(tmp_path, caplog):
  (tmp_path / "file").write_text("")
  journal = Journal(tmp_path / "file" / "scores.jsonl", {})
  journal.write("score", {}, 0, 0.5)
  assert "cannot be kept" in caplog.text
