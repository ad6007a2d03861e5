import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap

import ml_collections
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import preparation, writing
from dlm_jax.data.corpora import base
from dlm_jax.data.store import open_store


def _config(tmp_path, **fields):
  config = {
    "corpus": {"name": "text_files", "paths": str(tmp_path / "text.txt")},
    "tokenizer": {"name": "letters"},
    "packing": "stream",
    "length": 16,
    "directory": str(tmp_path / "data"),
  }
  return {**config, **fields}


@pytest.fixture(autouse=True)
def _text(tmp_path):
  texts = (f"document {i} " + "and more" * (i % 5) for i in range(400))
  (tmp_path / "text.txt").write_text("\n\n".join(texts))


def _markov(tmp_path, characters=100, **fields):
  """A store of one document of so many letters a split."""
  names = ("train_characters", "validation_characters", "test_characters")
  corpus = {"name": "synthetic_markov", **dict.fromkeys(names, characters)}
  return _config(tmp_path, corpus=corpus, **fields)


def _text_of(store, split="train"):
  return store.tokenizer.decode(store.rows(split)[:]["tokens"].ravel())


class TestPrepare:
  def test_holds_the_text_of_the_corpus(self, tmp_path):
    store = preparation.prepare(_markov(tmp_path, 100, length=16))
    (text,) = preparation.resolve.make(
      "dlm_jax.data.corpora", {"name": "synthetic_markov", "train_characters": 100}
    ).documents("train")
    assert _text_of(store) == text[:96]
    assert store.num_rows("train") == 6
    assert store.splits == ("train", "validation", "test")

  def test_rows(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    rows = store.rows("train")
    assert len(rows) == store.num_rows("train")
    assert rows.tokens.dtype == np.uint8
    row, some = rows[3], rows[np.array([3, 0, 3])]
    assert row.keys() == {"tokens"}
    assert row["tokens"].dtype == np.int32
    assert row["tokens"].shape == (16,)
    np.testing.assert_array_equal(some["tokens"][2], row["tokens"])
    np.testing.assert_array_equal(rows[2:5]["tokens"][1], row["tokens"])

  def test_padded_rows_say_what_is_given(self, tmp_path):
    (tmp_path / "text.txt").write_text("abcd\n\nab\n\nabcdefgh")
    corpus = {"name": "text_files", "paths": [str(tmp_path / "text.txt")]}
    corpus |= {"validation": 0, "test": 0}
    store = preparation.prepare(_config(tmp_path, corpus=corpus, packing="padded", length=4))
    rows = store.rows("train")[:]
    pad = store.tokenizer.pad_id
    assert rows["tokens"].tolist() == [[1, 2, 3, 4], [1, 2, pad, pad], [1, 2, 3, 4]]
    assert rows["given"].tolist() == [[False] * 4, [False, False, True, True], [False] * 4]
    assert store.rows("train")[1]["given"].tolist() == [False, False, True, True]
    counts = store.manifest["splits"]["train"]
    assert counts == {
      "rows": 3,
      "tokens": 10,
      "characters": 10,
      "documents": 3,
      "truncated": 1,
      "prompt_tokens": 0,
    }

  def test_sentences_between_symbols_are_cut_off_to_fit(self, tmp_path):
    (tmp_path / "text.txt").write_text("abcd\n\nab\n\nabcdefgh")
    corpus = {"name": "text_files", "paths": [str(tmp_path / "text.txt")]}
    corpus |= {"validation": 0, "test": 0}
    fields = {"packing": "wrapped_padded", "length": 6, "padding": "noised_unscored"}
    store = preparation.prepare(_config(tmp_path, corpus=corpus, **fields))
    rows = store.rows("train")[:]
    assert rows.keys() == {"tokens", "unscored"}
    assert rows["unscored"].sum(axis=1).tolist() == [0, 2, 0]
    counts = store.manifest["splits"]["train"]
    assert (counts["tokens"], counts["characters"], counts["truncated"]) == (16, 10, 1)
    assert store.characters_per_token("train") == 10 / 16
    assert [len(row) for row in store.rows("train").unpadded(slice(None))] == [6, 4, 6]
    # What is scored changes no byte of the store.
    other = preparation.prepare(
      _config(tmp_path, corpus=corpus, **fields | {"scored": "after_first"})
    )
    assert other.directory == store.directory and other.hash == store.hash
    assert other.rows("train")[:]["given"][:, 0].all()
    assert other.characters_per_token("train") == 10 / 13

  def test_files(self, tmp_path):
    splits = ("train", "validation", "test")
    always = {"manifest.json", "tokenizer.json", *(f"{split}.tokens" for split in splits)}
    stream = preparation.prepare(_config(tmp_path)).directory
    assert {path.name for path in stream.iterdir()} == always
    padded = preparation.prepare(_config(tmp_path, packing="padded")).directory
    lengths = {f"{split}.lengths" for split in splits}
    assert {path.name for path in padded.iterdir()} == always | lengths

  def test_another_tokenizer_file_is_another_store(self, tmp_path):
    trained = preparation.prepare(
      _config(tmp_path, tokenizer={"name": "hf", "train_vocab_size": 270})
    )
    path = tmp_path / "tokenizer.json"
    config = _config(tmp_path, tokenizer={"name": "hf", "file": str(path)})
    path.write_text(trained.tokenizer.definition)
    store = preparation.prepare(config)
    path.write_text(trained.tokenizer.definition + "\n")
    assert preparation.prepare(config).directory != store.directory

  def test_takes_a_config_dict_and_back_from_json(self, tmp_path):
    config = ml_collections.ConfigDict(_config(tmp_path))
    store = preparation.prepare(config)
    again = preparation.prepare(ml_collections.ConfigDict(json.loads(config.to_json())))
    assert again.directory == store.directory

  def test_a_complete_store_is_reused(self, tmp_path, capsys, monkeypatch):
    store = preparation.prepare(_config(tmp_path))
    assert "reusing" not in capsys.readouterr().out
    monkeypatch.setattr(writing, "write_split", None)
    assert preparation.prepare(_config(tmp_path)).hash == store.hash
    assert f"reusing the prepared data in {store.directory}" in capsys.readouterr().out

  @pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
      ("one\n\ntwo", {}, r"2 documents of 6 characters in all \(train 2\) .*joined by ' '$"),
      ("one\n\ntwo", {"tokenizer": {"name": "character"}}, r"6 symbols, joined by '\\n'$"),
      ("你\n\n好", {"tokenizer": {"name": "character"}}, r"3 symbols, joined by '\\n'$"),
      ("one\n\ntwo", {"packing": "padded"}, "2 documents of 4 characters .*, one in a row$"),
      ("one two", {}, "1 document of 6 characters .* with 27 symbols$"),
    ],
  )
  def test_one_line_says_what_was_recognised(self, tmp_path, capsys, text, fields, said):
    (tmp_path / "text.txt").write_text(text)
    corpus = {**_config(tmp_path)["corpus"], "validation": 0, "test": 0}
    preparation.prepare(_config(tmp_path, corpus=corpus, length=2, **fields))
    assert re.search(said, capsys.readouterr().out.strip())

  def test_explicit_defaults_and_workers_are_no_change(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    corpus = {**_config(tmp_path)["corpus"], "document": "blank_lines"}
    assert (
      preparation.prepare(_config(tmp_path, corpus=corpus, workers=1)).directory == store.directory
    )

  @pytest.mark.parametrize(
    "change",
    [
      {"length": 17},
      {"packing": "wrapped"},
      {"tokenizer": {"name": "byte"}},
      {"tokenizer": {"name": "letters", "special": ("pad",)}},
      {"corpus": {"validation": 0.2}},
    ],
  )
  def test_another_config_is_another_store(self, tmp_path, change):
    config = _config(tmp_path)
    store = preparation.prepare(config)
    if "corpus" in change:
      change = {"corpus": {**config["corpus"], **change["corpus"]}}
    other = preparation.prepare({**config, **change})
    assert other.directory != store.directory
    assert other.hash != store.hash

  def test_another_text_is_another_store(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    with (tmp_path / "text.txt").open("a") as file:
      file.write(" some words")
    other = preparation.prepare(_config(tmp_path))
    assert other.directory != store.directory
    assert other.hash != store.hash

  def test_a_text_changed_under_its_size_and_time_is_another_store(self, tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    store, times = preparation.prepare(_config(tmp_path)), path.stat()
    path.write_text(path.read_text().replace("document", "tnemucod"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert preparation.prepare(_config(tmp_path)).hash != store.hash
    # A text of many gigabytes is not read at each start: it is known by its size and time.
    monkeypatch.setattr(base, "HASHED", 10)
    store = preparation.prepare(_config(tmp_path))
    os.utime(path, ns=(0, 0))
    assert preparation.prepare(_config(tmp_path)).directory != store.directory

  def test_the_hash_is_of_the_content_and_not_of_where_it_comes_from(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    (tmp_path / "text.txt").rename(tmp_path / "moved.txt")
    corpus = {"name": "text_files", "paths": str(tmp_path / "moved.txt")}
    moved = preparation.prepare(_config(tmp_path, corpus=corpus))
    assert moved.directory != store.directory
    assert moved.hash == store.hash

  def test_the_number_of_workers_changes_no_byte(self, tmp_path, monkeypatch):
    monkeypatch.setattr("dlm_jax.data.encoding._CHUNK", 500)
    one = preparation.prepare(_config(tmp_path, workers=1, directory=str(tmp_path / "one")))
    two = preparation.prepare(_config(tmp_path, workers=2, directory=str(tmp_path / "two")))
    assert one.directory.name == two.directory.name
    assert one.manifest == two.manifest
    two.verify()

  def test_the_dtype_fits_the_vocabulary(self, tmp_path):
    config = _config(tmp_path, tokenizer={"name": "hf", "train_vocab_size": 300})
    store = preparation.prepare(config)
    tokens = store.rows("train").tokens
    assert tokens.dtype == np.uint16
    assert tokens.max() < store.tokenizer.vocab_size == 300
    assert "document" in _text_of(store)

  @pytest.mark.parametrize("name", ["character", "byte"])
  def test_the_tokenizer_comes_with_the_store(self, tmp_path, name):
    store = preparation.prepare(_config(tmp_path, tokenizer={"name": name}))
    opened = open_store(store.directory)
    assert opened.tokenizer == store.tokenizer
    assert opened.hash == store.hash
    assert "document" in _text_of(opened)


class TestCharacters:
  """Bits a character are only right if these are."""

  def test_a_symbol_is_a_character(self, tmp_path):
    assert preparation.prepare(_config(tmp_path)).characters_per_token("train") == 1.0

  def test_begin_and_end_are_none(self, tmp_path):
    store = preparation.prepare(_config(tmp_path, packing="wrapped", length=10))
    assert store.characters_per_token("train") == pytest.approx(8 / 10)

  def test_of_bytes(self, tmp_path):
    (tmp_path / "text.txt").write_text("\n\n".join(["éé"] * 400))
    corpus = {**_config(tmp_path)["corpus"], "validation": 0, "test": 0}
    store = preparation.prepare(
      _config(tmp_path, corpus=corpus, tokenizer={"name": "byte"}, length=5)
    )
    # Of two characters in four bytes, and a newline.
    assert store.characters_per_token("train") == pytest.approx(3 / 5, rel=1e-3)
    assert len(_text_of(store)) == store.manifest["splits"]["train"]["characters"]

  def test_of_subwords_and_special_separators(self, tmp_path):
    store = preparation.prepare(
      _config(tmp_path, tokenizer={"name": "hf", "train_vocab_size": 300})
    )
    counts = store.manifest["splits"]["train"]
    assert counts["characters"] == pytest.approx(len(_text_of(store)), abs=20)
    assert store.characters_per_token("train") == counts["characters"] / counts["tokens"]


class TestDamage:
  def test_a_file_of_another_size(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    path = store.directory / "validation.tokens"
    with path.open("r+b") as file:
      file.truncate(path.stat().st_size - 1)
    with pytest.raises(UserError, match=r"damaged: validation\.tokens has .*Delete it"):
      preparation.prepare(_config(tmp_path))
    path.unlink()
    with pytest.raises(UserError, match=r"validation\.tokens is missing"):
      open_store(store.directory)

  @pytest.mark.parametrize("name", ["train.tokens", "train.lengths"])
  def test_a_changed_byte_is_seen_before_a_row_is_read(self, tmp_path, name):
    store = preparation.prepare(_config(tmp_path, packing="padded"))
    store.verify()
    data = bytearray((store.directory / name).read_bytes())
    data[len(data) // 2] ^= 1
    (store.directory / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"damaged: the hash of {name} is not"):
      preparation.prepare(_config(tmp_path, packing="padded")).rows("train")
    store.rows("validation")  # only what is read is checked
    preparation.prepare(_config(tmp_path, packing="padded", checks=False)).rows("train")

  def test_what_was_read_once_is_not_read_again(self, tmp_path, monkeypatch):
    store = preparation.prepare(_config(tmp_path))
    store.rows("train")
    monkeypatch.setattr(np, "memmap", lambda *_, **__: pytest.fail("read again"))
    store.verify("train")

  def test_a_token_beyond_the_vocabulary(self, tmp_path):
    """As a tokenizer that breaks its word would write it, under a checksum that fits."""
    store = preparation.prepare(_config(tmp_path))
    tokens = np.fromfile(store.directory / "test.tokens", np.uint8)
    tokens[7] = 99
    tokens.tofile(store.directory / "test.tokens")
    files = {name: dict(file) for name, file in store.manifest["files"].items()}
    files["test.tokens"]["sha256"] = hashlib.sha256(tokens).hexdigest()
    store = dataclasses.replace(store, manifest={**store.manifest, "files": files})
    with pytest.raises(UserError, match=r"test\.tokens holds 99, which is not below 27"):
      store.rows("test")

  def test_a_manifest_that_is_not_there_or_not_readable(self, tmp_path):
    with pytest.raises(UserError, match=r"no prepared data in .*dlm_jax\.prepare"):
      open_store(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is not JSON .*Delete .* prepare"):
      open_store(tmp_path)

  @pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
      ("manifest.json", '"rows": ', '"rows": 1', r"manifest\.json was altered after"),
      ("manifest.json", '"splits"', '"split"', r"manifest\.json has no field 'splits'"),
      ("tokenizer.json", "abc", "ab", r"tokenizer\.json was altered after"),
      ("tokenizer.json", '"name"', '"nam', r"tokenizer\.json is not JSON"),
      ("tokenizer.json", '"name"', '"nam"', r"tokenizer\.json has no field 'name'"),
    ],
  )
  def test_an_altered_record(self, tmp_path, name, old, new, sentence):
    (tmp_path / "text.txt").write_text("abcdefghijk\n\n" * 300)
    corpus = {**_config(tmp_path)["corpus"], "validation": 0, "test": 0}
    store = preparation.prepare(
      _config(tmp_path, corpus=corpus, tokenizer={"name": "character"}, packing="padded")
    )
    path = store.directory / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=sentence):
      open_store(store.directory)

  def test_another_format(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    path = store.directory / "manifest.json"
    path.write_text(json.dumps({**store.manifest, "format": 0}))
    with pytest.raises(UserError, match="has format 0"):
      open_store(store.directory)


class TestInterrupted:
  def test_an_error_leaves_nothing_and_a_second_run_succeeds(self, tmp_path, monkeypatch):
    real, calls = writing.write_split, []

    def fail(*arguments):
      calls.append(arguments)
      if len(calls) == 3:
        raise KeyboardInterrupt
      return real(*arguments)

    monkeypatch.setattr(writing, "write_split", fail)
    with pytest.raises(KeyboardInterrupt):
      preparation.prepare(_config(tmp_path))
    assert list((tmp_path / "data").iterdir()) == []
    preparation.prepare(_config(tmp_path)).verify()

  def test_a_killed_run_reads_as_nothing_and_a_second_run_succeeds(self, tmp_path):
    config = _config(tmp_path)
    script = f"""
      import os, signal
      from dlm_jax.data import preparation, writing
      real = writing.write_split
      def killed(directory, split, *rest):
        if split == "test":
          os.kill(os.getpid(), signal.SIGKILL)
        return real(directory, split, *rest)
      writing.write_split = killed
      preparation.prepare({config!r})
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=os.getcwd())
    assert run.returncode == -signal.SIGKILL
    (partial,) = (tmp_path / "data").iterdir()
    assert (partial / "train.tokens").exists()
    with pytest.raises(UserError, match="no prepared data"):
      open_store(partial)
    store = preparation.prepare(config)
    store.verify()
    # What the killed run left is gone.
    assert list((tmp_path / "data").iterdir()) == [store.directory]

  def test_a_run_under_way_elsewhere_is_left_alone(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    store.directory.rename(tmp_path / "away")
    prefix = f".{store.directory.name}.{preparation.socket.gethostname()}."
    running = tmp_path / "data" / f"{prefix}{os.getppid()}"
    running.mkdir()
    preparation.prepare(_config(tmp_path))
    assert running.exists()

  def test_the_faster_of_two_runs_wins(self, tmp_path, monkeypatch):
    real = writing.write_split
    config = _config(tmp_path)
    elsewhere = preparation.prepare({**config, "directory": str(tmp_path / "elsewhere")})

    def overtaken(*arguments):
      target = tmp_path / "data" / elsewhere.directory.name
      if not target.exists():
        elsewhere.directory.rename(target)
      return real(*arguments)

    monkeypatch.setattr(writing, "write_split", overtaken)
    store = preparation.prepare(config)
    store.verify()
    assert list((tmp_path / "data").iterdir()) == [store.directory]


class TestErrors:
  def test_a_split_that_fills_no_row(self, tmp_path):
    with pytest.raises(UserError, match=r"train split has 10 tokens.*one row of 16.*data\.length"):
      preparation.prepare(_markov(tmp_path, 10))
    (tmp_path / "text.txt").write_text("some words in one document")
    with pytest.raises(UserError, match=r"one document .* split is empty: set data\.corpus\.doc"):
      preparation.prepare(_config(tmp_path))
    (tmp_path / "text.txt").write_text("你\n\n好")
    corpus = {**_config(tmp_path)["corpus"], "validation": 0, "test": 0}
    with pytest.raises(UserError, match="train split has no document that holds text for the tok"):
      preparation.prepare(_config(tmp_path, corpus=corpus))
    assert list((tmp_path / "data").iterdir()) == []

  @pytest.mark.parametrize(
    ("change", "match"),
    [
      ({"lenght": 3}, "no field 'lenght': did you mean 'length'"),
      ({"packing": "streem"}, "did you mean 'stream'"),
      ({"corpus": {"name": "stdlib_doc"}}, "did you mean 'stdlib_docs'"),
      ({"corpus": {"name": "text_files", "path": "x"}}, "did you mean 'paths'"),
      ({"tokenizer": {"name": "leters"}}, "did you mean 'letters'"),
      ({"tokenizer": {}}, "has no 'name'"),
      ({"length": 0}, r"DataConfig\.length must be at least 1"),
      ({"length": 2, "packing": "wrapped"}, r"data\.length must be above 2"),
      ({"workers": 0}, r"DataConfig\.workers must be at least 1"),
    ],
  )
  def test_of_the_config(self, tmp_path, change, match):
    with pytest.raises(UserError, match=match):
      preparation.prepare({**_config(tmp_path), **change})
    assert not (tmp_path / "data").exists()

  def test_a_packing_that_the_tokenizer_cannot_serve(self, tmp_path):
    definition = preparation.prepare(
      _config(tmp_path, tokenizer={"name": "hf", "train_vocab_size": 270})
    ).tokenizer.definition
    path = tmp_path / "tokenizer.json"
    path.write_text(definition.replace("<|pad|>", "<|not|>"))
    config = _config(tmp_path, tokenizer={"name": "hf", "file": str(path)}, packing="padded")
    with pytest.raises(UserError, match=r"packing 'padded' needs a pad symbol.*tokenizer\.pad"):
      preparation.prepare(config)

  def test_an_unknown_split(self, tmp_path):
    store = preparation.prepare(_config(tmp_path))
    for call in (store.rows, store.num_rows, store.characters_per_token):
      with pytest.raises(UserError, match="no split 'tset': did you mean 'test'"):
        call("tset")
