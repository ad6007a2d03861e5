"""The embedded corpus: the English that every Python carries with it.

Its sources are `pydoc_data.topics` (the language reference behind `help()`) and the docstrings of
the standard library, parsed from the source files; no module is imported. What is not English
(doctests, grammar, tables, option lists, signatures) is dropped by paragraph.
"""

import ast
import functools
import inspect
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.split_by_hash import SplitByHash

_SKIPPED = frozenset(
  {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib-dynload", "__pycache__"}
)
_TOPICS = "pydoc_data/topics.py"
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_FUNCTION_WORDS = frozenset(
  re.findall(
    "[a-z]+",
    "a all also an and any are as at be been but by can do does each for from given has have if "
    "in into is it its may more must no none not of on one only or other same should so such than "
    "that the their then there these they this to unless until use used was were when where "
    "whether which will with you",
  )
)


@dataclass(frozen=True, kw_only=True)
class StdlibDocs(SplitByHash):
  """About 1.7 million characters of English, the same for everyone with the same Python.

  A document is a docstring or a topic. Whole modules and whole topics are held out, by the hash of
  their name, and a paragraph that occurs more than once is kept once, so no paragraph is in two
  splits.

  Attributes:
    validation, test: fractions of the modules and topics, held out.
  """

  @property
  def version(self) -> str:
    """Of Python: its text is the corpus."""
    return platform.python_version()

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    for source, text in _documents():
      if self.split_of(source) == split:
        yield text


def make(**fields: object) -> StdlibDocs:
  return resolve.build(StdlibDocs, fields)


@functools.cache
def _documents() -> tuple[tuple[str, str], ...]:
  """All (source, text), where the source is a module or a topic: kept, as parsing takes seconds."""
  root = Path(sysconfig.get_path("stdlib"))
  files = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
  names = sorted(name for name in files if not _SKIPPED.intersection(name.split("/")))
  if not names:
    raise UserError(
      f"stdlib_docs needs the source files of the standard library, and {root} has none: "
      "use the corpus text_files."
    )
  seen: set[str] = set()
  found = []
  for name in names:
    for source, raw in _raw_documents(name, files[name]):
      paragraphs = (p for p in re.split(r"\n\s*\n", raw) if _is_english(p))
      text = "\n\n".join(p for p in paragraphs if _is_new(p, seen))
      if text:
        found.append((source, text))
  return tuple(found)


def _raw_documents(name: str, path: Path) -> Iterator[tuple[str, str]]:
  """(source, text) of each topic or docstring in a file."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of invalid escapes in other people's strings
    tree = ast.parse(path.read_bytes())
  if name == _TOPICS:
    for topic, text in sorted(_topics(tree).items()):
      yield f"topic {topic}", text
    return
  nodes = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
  for node in sorted(nodes, key=lambda node: 0 if isinstance(node, ast.Module) else node.lineno):
    if docstring := ast.get_docstring(node, clean=False):
      yield name, inspect.cleandoc(docstring)


def _topics(tree: ast.Module) -> Mapping[str, str]:
  """The literal that `pydoc_data/topics.py` assigns to `topics`."""
  assigned = next(node for node in tree.body if isinstance(node, ast.Assign))
  return ast.literal_eval(assigned.value)


def _is_english(paragraph: str) -> bool:
  """Whether a paragraph is prose: mostly letters, with function words, and without code."""
  if ">>>" in paragraph or "::=" in paragraph:
    return False
  words = re.findall("[a-z]+", paragraph.lower())
  prose = sum(c.isalpha() or c in " \n.,'\"-()" for c in paragraph)
  functional = sum(word in _FUNCTION_WORDS for word in words)
  return len(words) >= 4 and prose >= 0.85 * len(paragraph) and functional >= 0.18 * len(words)


def _is_new(paragraph: str, seen: set[str]) -> bool:
  """Whether its words are not in `seen`; adds them."""
  key = " ".join(re.findall("[a-z0-9]+", paragraph.lower()))
  new = key not in seen
  seen.add(key)
  return new
