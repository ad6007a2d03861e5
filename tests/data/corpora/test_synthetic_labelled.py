import itertools

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import preparation, writing
from dlm_jax.data.batches import Batches
from dlm_jax.data.corpora import synthetic_labelled

CORPUS = {
  "name": "synthetic_labelled",
  "num_labels": 3,
  "characters": 12,
  "train_documents": 400,
  "validation_documents": 20,
  "test_documents": 10,
}


def config(tmp_path, **fields):
  base = {"corpus": CORPUS, "tokenizer": {"name": "letters"}, "packing": "padded", "length": 12}
  return {**base, "directory": str(tmp_path), **fields}


def make():
  return synthetic_labelled.make(**{k: v for k, v in CORPUS.items() if k != "name"})


def test_each_document_is_of_the_chain_of_its_label():
  corpus = make()
  documents = list(corpus.documents("train"))
  labels = list(corpus.labels("train"))
  assert len(documents) == len(labels) == 400 and set(map(len, documents)) == {12}
  assert len(set(documents)) > 300
  for label in range(3):
    counts = np.zeros((4, 4))
    for document, its in zip(documents, labels, strict=True):
      if its == label:
        for a, b in itertools.pairwise(document):
          counts[ord(a) - 97, ord(b) - 97] += 1
    frequencies = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    often = counts.sum(1) > 100
    np.testing.assert_allclose(
      frequencies[often], corpus.chain(label).transitions[often], atol=0.12
    )


def test_rows_and_batches_hold_the_label_of_their_document(tmp_path):
  store = preparation.prepare(config(tmp_path))
  assert store.num_labels == 3
  corpus, rows = make(), store.rows("train")
  expected = dict(zip(corpus.documents("train"), corpus.labels("train"), strict=True))
  batch = Batches(rows, batch_size=32, seed=0)(3)
  assert batch["label"].dtype == np.int32 and batch["label"].shape == (32,)
  for row, label in zip(batch["tokens"], batch["label"], strict=True):
    assert expected[store.tokenizer.decode(row)] == label
  assert rows[5]["label"] == 5 % 3


def test_labels_are_part_of_what_is_learned(tmp_path):
  """Documents are the same under other labels; the store's hash is not."""
  store = preparation.prepare(config(tmp_path))
  (path,) = tmp_path.glob("*/train.labels")
  assert path.stat().st_size == 400
  assert "train.labels" in store.manifest["files"]
  store.verify()


def test_a_row_must_be_a_document(tmp_path):
  with pytest.raises(UserError, match=r"set data\.packing to 'padded', got 'stream'"):
    preparation.prepare(config(tmp_path, packing="stream"))


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 3]])
def test_labels_that_do_not_fit_the_rows(tmp_path, labels):
  with pytest.raises(UserError, match=r"the train split has \d labels for 3 .* one in 0\.\.2"):
    writing.write_labels(tmp_path, "train", labels, num_labels=3, rows=3)


def test_a_corpus_without_labels_has_none(tmp_path):
  store = preparation.prepare(
    config(tmp_path, corpus={"name": "synthetic_markov"}, packing="stream")
  )
  assert store.num_labels == 0 and "label" not in store.rows("test")[0]


def test_mistakes():
  with pytest.raises(UserError, match="num_labels must be at least 1"):
    synthetic_labelled.make(num_labels=0)
