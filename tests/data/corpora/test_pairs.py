"""Corpora of prompts and answers, from their text to their rows."""

import gzip
import json

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import preparation, zero_shot
from dlm_jax.data.batches import Batches
from dlm_jax.data.corpora import (
  arithmetic,
  fill_in_the_middle,
  pairs,
  path_star,
  planning,
  reversal,
  sudoku,
  sudoku_grids,
  synthetic_any_order,
)
from dlm_jax.data.tokenizers import character

FEW = {"train_pairs": 60, "validation_pairs": 15, "test_pairs": 15}


def write(path, *rows):
  lines = "\n".join(json.dumps(row) for row in rows)
  path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
  return str(path)


def config(tmp_path, corpus, **fields):
  base = {"tokenizer": {"name": "character"}, "packing": "pairs", "length": 16}
  return {"corpus": corpus, **base, "directory": str(tmp_path / "data"), **fields}


@pytest.fixture
def questions(tmp_path):
  rows = [{"prompt": f"what is {i}? ", "answer": str(i)} for i in range(100)]
  return {"name": "pairs", "paths": write(tmp_path / "a.jsonl.gz", *rows), "test": 0.2}


class TestRows:
  @pytest.mark.parametrize("padding", ["ignored", "end_learned"])
  def test_the_prompt_is_given_and_the_end_symbol_fills_the_row(self, tmp_path, questions, padding):
    store = preparation.prepare(config(tmp_path, questions, padding=padding))
    tokenizer, rows = store.tokenizer, store.rows("train")
    batch = Batches(rows, batch_size=8, seed=0)(0)
    for tokens, given in zip(batch["tokens"], batch["given"], strict=True):
      text = tokenizer.decode(tokens)
      prompt, answer = text.split("? ")
      end = len(text)
      assert prompt == f"what is {answer}" and set(tokens[end:]) == {tokenizer.eos_id}
      expected = np.arange(16) < len(prompt) + 2
      if padding == "ignored":
        expected |= np.arange(16) >= end
      np.testing.assert_array_equal(given, expected)
    learned = store.num_rows("train") * 16 - int(rows.prompts.astype(int).sum())
    answers = store.manifest["splits"]["train"]["characters"]
    scored = learned if padding == "end_learned" else answers
    assert store.characters_per_token("train") == pytest.approx(answers / scored)

  def test_a_prompt_is_in_one_split(self, tmp_path):
    row = {"prompt": "the same ", "answer": "a"}
    path = write(tmp_path / "a.jsonl", row, {**row, "answer": "b", "note": 1})
    corpus = pairs.make(paths=path, validation=0.3, test=0.3)
    assert sorted(len(list(corpus.pairs(split))) for split in corpus.splits) == [0, 0, 2]

  @pytest.mark.parametrize(
    ("fields", "message"),
    [
      (
        {"length": 10},
        r"pair 1 of the \w+ split has a prompt of 11 tokens and an answer of 1, .*10",
      ),
      ({"packing": "padded"}, "set data.packing to 'pairs', got 'padded'"),
      ({"padding": "scored"}, "'scored' does not go with data.packing 'pairs'"),
      ({"packing": "stream", "padding": "end_learned"}, "'end_learned' does not go with"),
    ],
  )
  def test_mistakes(self, tmp_path, questions, fields, message):
    with pytest.raises(UserError, match=message):
      preparation.prepare(config(tmp_path, questions, **fields))

  def test_text_without_prompts_makes_no_pairs(self, tmp_path):
    with pytest.raises(UserError, match="makes rows of prompts and answers, and this text has non"):
      preparation.prepare(config(tmp_path, {"name": "synthetic_markov"}))
    (tmp_path / "book.txt").write_text("abc\n\nbca")
    with pytest.raises(UserError, match="makes rows of prompts and answers, and this text has non"):
      zero_shot.prepare(
        zero_shot.protocol(str(tmp_path / "book.txt")),
        character.make(alphabet="abc").with_special(("eos",)),
        length=8,
        trained_packing="pairs",
      )

  @pytest.mark.parametrize("line", ["{", '{"prompt": "a"}', '{"prompt": "a", "answer": 1}', "[]"])
  def test_a_line_that_is_no_pair(self, tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\n' + line)
    with pytest.raises(UserError, match=r"line 2 of .*a.jsonl must be an object with two texts"):
      [list(pairs.make(paths=str(path)).pairs(split)) for split in ("train", "test")]

  def test_an_empty_answer(self, tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "a", "answer": ""})
    corpus = {"name": "pairs", "paths": path, "validation": 0.0, "test": 0.0}
    tokenizer = {"name": "byte"}
    with pytest.raises(UserError, match="pair 1 of the train split has an answer without text"):
      preparation.prepare(config(tmp_path, corpus, tokenizer=tokenizer))


class TestGraphs:
  @pytest.mark.parametrize("module", [path_star, planning])
  @pytest.mark.parametrize("reverse", [False, True])
  def test_the_answer_is_the_one_path_to_the_goal(self, module, reverse):
    for prompt, answer in module.make(reverse=reverse, **FEW).pairs("train"):
      edges, _, query = prompt.rstrip("=").partition(";")
      before = {edge[1]: edge[0] for edge in edges.split(",")}
      start, path = query[0], [query[1]]
      assert len(before) == len(edges.split(","))  # each node has one way in
      while path[-1] != start:
        path.append(before[path[-1]])
      assert answer == "".join(path if reverse else reversed(path))

  def test_the_first_step_is_one_of_the_arms(self):
    prompt, answer = next(path_star.make(arms=4, path_length=3, **FEW).pairs("test"))
    edges = prompt.split(";")[0].split(",")
    assert len(edges) == 8 and sum(edge[0] == answer[0] for edge in edges) == 4

  def test_edges_stand_in_any_order_and_the_fork_anywhere_with_sides_as_long(self):
    places, forks = set(), set()
    for prompt, answer in planning.make(path_length=5, **FEW).pairs("train"):
      edges = prompt.split(";")[0].split(",")
      places.add(edges.index(answer[:2]))
      after = {start: [b for a, b in edges if a == start] for start, _ in edges}
      (fork,) = (node for node, ends in after.items() if len(ends) == 2)
      forks.add(answer.index(fork))
      side, other = after[fork]
      while side in after:
        (side,), (other,) = after[side], after[other]
      assert other not in after and answer[-1] in (side, other)
    assert forks == set(range(4)) and len(places) > 4

  def test_a_path_longer_than_the_vocabulary(self):
    with pytest.raises(
      UserError, match=r"a graph has 25 nodes, and corpus.nodes is 20: set it to 25"
    ):
      path_star.make(arms=3, path_length=9, nodes=20)
    with pytest.raises(UserError, match="nodes is 20: at most 62 can be, shorten the paths"):
      path_star.make(arms=3, path_length=30, nodes=20)
    with pytest.raises(UserError, match=r"a graph has 41 nodes, and corpus.nodes is 30"):
      planning.make(path_length=21)


def grid_of(prompt, answer):
  """Which cells are clues, the digits 0..n-1 of all, and the open cells as they are answered."""
  cells, names, _ = f"{prompt}=".split("=", 2)
  clue = np.array([cell != "." for cell in cells])
  order = [sudoku._NAMES.index(name) for name in names] or list(range(len(cells)))
  grid = np.array([int(cell) if cell != "." else 0 for cell in cells])
  grid[order] = list(map(int, answer))
  assert all(str(digit) == cell for digit, cell in zip(grid, cells, strict=True) if cell != ".")
  return clue, grid - 1, [cell for cell in order if not clue[cell]]


class TestSudoku:
  @pytest.mark.parametrize(("size", "order"), [(4, "rows"), (6, "solver"), (9, "rows")])
  def test_clues_and_answer_are_a_full_grid_that_singles_find(self, size, order):
    corpus = sudoku.make(size=size, order=order, train_pairs=4, validation_pairs=1, test_pairs=1)
    for prompt, answer in corpus.pairs("train"):
      clue, grid, open_cells = grid_of(prompt, answer)
      assert len(prompt + answer) == corpus.length
      assert sum(clue) == corpus.given and len(open_cells) == size**2 - corpus.given
      for unit in sudoku_grids.units(size).astype(bool):
        assert sorted(grid[unit]) == list(range(size))
      assert sudoku_grids.rounds(grid[None], clue[None]).min() >= 0

  def test_the_solver_finds_every_cell_from_those_before_it(self):
    corpus = sudoku.make(size=4, clues=5, order="solver", **FEW)
    for prompt, answer in corpus.pairs("test"):
      known, grid, open_cells = grid_of(prompt, answer)
      for cell in open_cells:
        assert sudoku_grids.rounds(grid[None], known[None])[0, cell] == 1
        known[cell] = True

  def test_a_puzzle_that_is_not_determined_is_not_solved(self):
    """Where two solutions differ in four cells, none of the four is found without a clue there."""
    grid = np.array([[0, 1, 2, 3, 2, 3, 0, 1, 1, 0, 3, 2, 3, 2, 1, 0]])
    clues = np.ones((1, 16), bool)
    clues[0, [0, 1, 8, 9]] = False
    assert (sudoku_grids.rounds(grid, clues)[~clues] == -1).all()

  def test_solutions_are_not_shared_by_splits(self):
    corpus = sudoku.make(**FEW)

    def solutions(split):
      return {tuple(grid_of(*pair)[1]) for pair in corpus.pairs(split)}

    assert not solutions("train") & solutions("test")

  @pytest.mark.parametrize(
    ("fields", "message"),
    [
      ({"size": 5}, "size must be 4, 6 or 9, got 5"),
      ({"clues": 3}, r"clues must lie in 4\.\.15"),
      ({"order": "columns"}, "no corpus.order 'columns'"),
      (
        # Found out after as many draws as there are puzzles, not as many as are asked for.
        {"clues": 15, "train_pairs": 10**9, "validation_pairs": 1, "test_pairs": 1},
        r"Sudoku with clues 15, order rows, size 4 has no more than 3,\d+ distinct puzzles for its "
        "train split, and corpus.train_pairs is 1,000,000,000",
      ),
    ],
  )
  def test_mistakes(self, fields, message):
    with pytest.raises(UserError, match=message):
      list(sudoku.make(**fields).pairs("train"))


def test_sums():
  corpus = arithmetic.make(digits=3, numbers=3, **FEW)
  for prompt, answer in corpus.pairs("train"):
    assert sum(map(int, prompt[:-1].split("+"))) == int(answer) and len(answer) == 4
  backwards = arithmetic.make(digits=3, numbers=3, reverse=True, **FEW)
  pair, turned = (next(c.pairs("test")) for c in (corpus, backwards))
  assert turned.answer == pair.answer[::-1]
  with pytest.raises(UserError, match=r"no more than .* distinct puzzles for its train split"):
    list(
      arithmetic.make(digits=1, train_pairs=200, validation_pairs=1, test_pairs=1).pairs("train")
    )


def test_held_out_facts_are_stated_forwards_alone():
  corpus = reversal.make(facts=50, letters=3)
  told = {prompt + answer for prompt, answer in corpus.pairs("train")}
  asked = list(corpus.pairs("test"))
  assert 3 <= len(asked) <= 20
  for prompt, answer in asked:
    assert f">{answer}={prompt[1:-1]}" in told and prompt + answer not in told
  assert sum(text.startswith("<") for text in told) == 50 - len(asked) - len(
    list(corpus.pairs("validation"))
  )
  with pytest.raises(UserError, match=r"needs 2000 names, and there are 676 of corpus.letters 2"):
    reversal.make(letters=2)


def test_the_hidden_order_is_that_of_a_chain():
  corpus = synthetic_any_order.make(letters=4, drawn_documents=400, characters=8)
  rows = [np.frombuffer(row.encode(), np.uint8) - 97 for row in corpus.documents("train")]
  chain = np.array(rows)[:, corpus.order]
  counts = np.zeros((4, 4))
  np.add.at(counts, (chain[:, :-1].ravel(), chain[:, 1:].ravel()), 1)
  found = counts / counts.sum(1, keepdims=True)
  np.testing.assert_allclose(found, corpus.chain.transitions, atol=0.06)


def test_a_middle_that_is_moved_back_gives_the_text(tmp_path):
  words = ("alpha", "beta", "gamma", "delta")
  (tmp_path / "a.txt").write_text("\n\n".join(f"{a} and {b}" for a in words for b in words * 2))
  corpus = fill_in_the_middle.make(paths=str(tmp_path / "a.txt"), characters=20, least=0.2)
  text = "".join(f"{document} " for document in corpus.inner.documents("train"))
  windows, sizes, places = "", set(), set()
  for document in corpus.documents("train"):
    before, after, middle = document.split("|")
    windows += before + middle + after
    sizes.add(len(middle))
    places.add(len(before))
  assert windows == text[: len(text) // 20 * 20] and len(places) > 3
  assert sizes <= set(range(4, 11)) and len(sizes) > 3
  with pytest.raises(UserError, match=r"corpus\.least 0\.7 is above corpus\.most 0\.5"):
    fill_in_the_middle.make(least=0.7)
