import subprocess
import sys

import pytest

from dlm_jax.data.corpora import stdlib_docs
from dlm_jax.data.tokenizers import letters

CORPUS = stdlib_docs.make()
DIGEST = """
import hashlib, sys
from dlm_jax.data.corpora import stdlib_docs
corpus = stdlib_docs.make()
text = "\\0".join(d for split in corpus.splits for d in corpus.documents(split))
print(hashlib.sha256(text.encode()).hexdigest(), "turtle" in sys.modules)
"""


@pytest.fixture(scope="module")
def folded():
  return {
    split: b" ".join(letters.fold(text) for text in CORPUS.documents(split)).decode()
    for split in CORPUS.splits
  }


def test_size(folded):
  characters = {split: len(text) for split, text in folded.items()}
  total = sum(characters.values())
  assert 1_000_000 < total < 3_000_000
  for split in ("validation", "test"):
    assert 0.02 < characters[split] / total < 0.1


def test_is_english(folded):
  words = folded["train"].split()
  assert words.count("the") / len(words) > 0.05
  assert ">>>" not in "".join(CORPUS.documents("train"))


def test_no_paragraph_is_there_twice():
  paragraphs = [
    letters.fold(paragraph)
    for split in CORPUS.splits
    for document in CORPUS.documents(split)
    for paragraph in document.split("\n\n")
  ]
  assert len(paragraphs) > 10_000
  # The filter tells digits from their names, which folding does not.
  assert len(set(paragraphs)) > 0.999 * len(paragraphs)


def test_the_order_is_not_that_of_the_disk():
  modules = [s for s, _ in stdlib_docs._documents() if not s.startswith("topic ")]
  assert modules == sorted(modules)


def test_holds_out_whole_modules_and_topics():
  sources = {}
  splits = {}
  for source, text in stdlib_docs._documents():
    sources.setdefault(source, []).append(text)
  for split in CORPUS.splits:
    for text in CORPUS.documents(split):
      splits.setdefault(text, set()).add(split)
  assert len(sources) > 300
  for texts in sources.values():
    assert len(set.union(*(splits[text] for text in texts))) == 1


@pytest.mark.slow
def test_is_the_same_in_each_process_and_imports_nothing():
  command = [sys.executable, "-c", DIGEST]
  printed = {
    subprocess.run(
      command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
    ).stdout
    for seed in ("1", "2")
  }
  assert len(printed) == 1
  assert printed.pop().split()[1] == "False"


@pytest.mark.parametrize(
  ("paragraph", "kept"),
  [
    ("Return the number of items in the list.", True),
    ("See the docstring of the class:\n>>> f(the, list)", False),
    ('if_stmt ::= "if" the expression of the suite', False),
    ("+-----+-----+\n| the | of  |\n+-----+-----+ a to in the and", False),
    ("def double(x):\n  return x * 2\nval = 3", False),
    ("The end.", False),
  ],
)
def test_what_is_english(paragraph, kept):
  assert stdlib_docs._is_english(paragraph) == kept
