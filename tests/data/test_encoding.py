import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import encoding
from dlm_jax.data.encoding import Encoder
from dlm_jax.data.tokenizers import character, letters

TEXTS = [f"text {'x' * (i % 7)} {i}" for i in range(60)]


def _encoded(texts, encoder, workers):
  chunks = list(encoding.encode(iter(texts), encoder, workers))
  documents = [ids.tolist() for chunk in chunks for ids in chunk.documents]
  return documents, sum(c.characters for c in chunks), sum(c.truncated for c in chunks)


@pytest.mark.parametrize(
  ("vocab_size", "dtype"),
  [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")],
)
def test_the_smallest_dtype_that_holds_the_vocabulary(vocab_size, dtype):
  assert encoding.token_dtype(vocab_size) == np.dtype(dtype)


def test_counts_what_is_kept():
  encoder = Encoder(letters.make(), limit=3)
  documents, characters, truncated = _encoded(["abcd", "...", "ab", "", "xyz"], encoder, 1)
  assert documents == [[1, 2, 3], [1, 2], [24, 25, 26]]
  assert (characters, truncated) == (8, 1)


def test_a_window_of_a_long_document_is_anywhere_in_it_and_stays_there():
  encoder = Encoder(letters.make(), limit=3, anywhere=True)
  texts = [f"{'abcdefgh'[:n]}" for n in range(1, 9)] + ["hgfedcba", "cbahgfed", "badcfehg"]
  documents, characters, truncated = _encoded(texts, encoder, 1)
  whole = [letters.make().encode(text).tolist() for text in texts]
  firsts = [ids.index(part[0]) for ids, part in zip(whole, documents, strict=True)]
  windows = zip(whole, documents, firsts, strict=True)
  assert all(part == ids[first : first + 3] for ids, part, first in windows)
  assert firsts[:3] == [0, 0, 0] and len(set(firsts[3:])) > 2
  assert (characters, truncated) == (sum(map(len, documents)), 8)
  assert _encoded(texts, encoder, 1)[0] == documents


def test_the_number_of_workers_changes_nothing(monkeypatch):
  encoder = Encoder(letters.make())
  alone = _encoded(TEXTS, encoder, 1)
  monkeypatch.setattr(encoding, "_CHUNK", 20)  # many chunks
  assert _encoded(TEXTS, encoder, 1) == alone
  assert _encoded(TEXTS, encoder, 2) == alone
  assert len(alone[0]) == 60


def test_few_texts_start_no_process(monkeypatch):
  monkeypatch.setattr(encoding, "ProcessPoolExecutor", None)
  assert len(_encoded(TEXTS, Encoder(letters.make()), None)[0]) == 60


def test_many_texts_start_processes(monkeypatch):
  monkeypatch.setattr(encoding, "_CHUNK", 10)
  monkeypatch.setattr(encoding, "ProcessPoolExecutor", None)
  with pytest.raises(TypeError):
    _encoded(TEXTS, Encoder(letters.make()), None)


def test_the_texts_are_not_all_held_at_once(monkeypatch):
  monkeypatch.setattr(encoding, "_CHUNK", 10)
  read = 0

  def texts():
    nonlocal read
    for text in TEXTS:
      read += 1
      yield text

  next(encoding.encode(texts(), Encoder(letters.make()), 2))
  assert read < 15


def test_an_error_in_a_worker_is_the_users(monkeypatch):
  monkeypatch.setattr(encoding, "_CHUNK", 20)
  with pytest.raises(UserError, match=r"outside the 3 of its alphabet: .*'e'"):
    _encoded(TEXTS, Encoder(character.make(alphabet="abc")), 2)


ENDLESS = """
import itertools, multiprocessing
from dlm_jax.data import encoding
from dlm_jax.data.tokenizers import letters
if __name__ == "__main__":
  encoding._CHUNK = 10
  for _ in encoding.encode(itertools.repeat("some text"), encoding.Encoder(letters.make()), 2):
    print(*(p.pid for p in multiprocessing.active_children()), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_die_with_a_killed_parent(tmp_path):
  script = tmp_path / "endless.py"
  script.write_text(ENDLESS)
  environment = {**os.environ, "PYTHONPATH": os.getcwd()}
  with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as run:
    workers = [int(pid) for pid in run.stdout.readline().split()]
    run.send_signal(signal.SIGKILL)
  assert len(workers) == 2
  deadline = time.monotonic() + 10
  while any(_is_alive(pid) for pid in workers):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def _is_alive(pid):
  """Whether it runs; the killed parent's children may stay as zombies."""
  try:
    status = Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False
  return status.rsplit(")", 1)[1].split()[0] != "Z"
