"""Any order: the same text costs a masked model other bits in other orders, and which are cheap?

A masked model gives p(token | any set of others), and so a likelihood for each order of a row. The
text is a Markov chain whose order is hidden (`synthetic_any_order`), so that the true likelihood of
each row and its best order are known. Next-token prediction has one order; blocks lie between.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax.core import resolve
from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.types import Params
from dlm_jax.data.corpora.synthetic_any_order import SyntheticAnyOrder
from dlm_jax.evaluation.bound import evaluate
from dlm_jax.evaluation.evaluation_settings import EvaluateSettings
from dlm_jax.model.denoiser import bound
from dlm_jax.model.model import Model, load, training_data
from dlm_jax.processes.base import at_token
from dlm_jax.processes.facets import RevealsOnce
from experiments.where_it_pays.intervals import cells, interval, number
from experiments.where_it_pays.lab import Arm, Finding, Row, Scale, sized

CHARACTERS = 24
MASKED = "masked"
METHODS = {
  MASKED: Arm("absorbing"),
  "block of 4": Arm("block,block_size=4"),
  "block of 12": Arm("block,block_size=12"),
  "next token": Arm("autoregressive"),
}
SCALE = Scale(steps=400, batch_size=32, rows=200, points=2)
# Random orders that are tried.
RANDOM = 8
TRUTH = "the chain itself"


def config(arm: Arm, scale: Scale) -> ConfigDict:
  corpus = {"name": "synthetic_any_order", "characters": CHARACTERS}
  data = {"corpus": {**corpus, "drawn_documents": max(scale.train_pairs, 200)}, "packing": "padded"}
  made = stdlib_docs.get_config(arm.method)
  made.data.update(data)
  # A place is predicted from certain others: rotary positions, which tell distances, do not learn
  # which in this time.
  fields = {"data.length": CHARACTERS, "network.learned_positions": CHARACTERS}
  return sized(made, scale, {**fields, **arm.fields})


def orders_of(text: SyntheticAnyOrder, random: int) -> np.ndarray:
  """From left to right, that of the chain, and `random` others: int `[2 + random, L]`."""
  # The chain's is drawn from a seed of which 0 would make the same again.
  rng = np.random.default_rng([text.seed, 1])
  places = np.arange(text.characters)
  return np.array([places, text.order, *(rng.permutation(places) for _ in range(random))])


def order_nats(model: Model, tokens: np.ndarray, orders: np.ndarray) -> np.ndarray:
  """-log p of rows `[N, L]`, a token at a time in each of the orders `[K, L]`; nats `[K, N]`."""
  process = model.process
  assert isinstance(process, RevealsOnce)
  length = tokens.shape[1]

  @jax.jit
  def nats(params: Params, rows: Array, order: Array) -> Array:
    learned, denoise = bound(process, model.denoiser(params))

    def step(place: Array, index: Array) -> tuple[Array, Array]:
      z = jnp.where(place < index, rows, process.mask_id)
      t = jnp.full(len(rows), process.time_of_masked((length - index) / length))
      said = at_token(learned.predict(denoise(z, t), z, t).log_probs, rows)
      return place, -said[:, order[index]]

    return jnp.sum(jax.lax.scan(step, jnp.argsort(order), jnp.arange(length))[1], axis=0)

  return np.array([nats(model.params, tokens, order) for order in orders])


def true_nats(text: SyntheticAnyOrder, rows: Sequence[str]) -> np.ndarray:
  """-log p of rows under the chain that made them, nats `[N]`."""
  letters = np.array([list(row.encode()) for row in rows]) - ord("a")
  states = letters[:, text.order]
  steps = text.chain.transitions[states[:, :-1], states[:, 1:]]
  return -np.log(text.chain.stationary[states[:, 0]]) - np.log(steps).sum(axis=1)


def measure(arm: str, run: str, scale: Scale) -> list[Row]:
  """Nats a token of test rows, as `evaluate` says, and of the masked model in each order."""
  found = evaluate(EvaluateSettings(workdir=run, samples=16, rows=scale.rows))
  name = "left to right, exact" if arm == "next token" else "bound, over all orders"
  rows = [{"order": name, "nats": found["results"]["nats_per_token"]["value"]}]
  if arm != MASKED:
    return rows
  model = load(run)
  store = training_data(model)
  tokens = store.rows("test")[evenly_spread(store.num_rows("test"), scale.rows)]["tokens"]
  fields = {k: v for k, v in model.provenance.config["data"]["corpus"].items() if k != "name"}
  text = resolve.build(SyntheticAnyOrder, fields)
  orders = orders_of(text, RANDOM if scale.points > 1 else 2)
  nats = order_nats(model, tokens, orders).mean(axis=1) / CHARACTERS
  rows += [{"order": "left to right", "nats": float(nats[0])}]
  rows += [{"order": "that of the chain", "nats": float(nats[1])}]
  rows += [{"order": "random, mean", "nats": float(nats[2:].mean())}]
  rows += [{"order": "random, best", "nats": float(nats[2:].min())}]
  rows += [{"order": "random, worst", "nats": float(nats[2:].max())}]
  truth = true_nats(text, [model.tokenizer.decode(row) for row in tokens])
  return [*rows, {"order": TRUTH, "nats": float(truth.mean()) / CHARACTERS}]


def table(rows: Sequence[Row]) -> str:
  """A row a model and order."""
  lines = ["| model | order | nats a token |", "|---|---|---|"]
  for (arm, order), group in cells(rows, "arm", "order").items():
    nats = number([row["nats"] for row in group])
    lines.append(f"| {'-' if order == TRUTH else arm} | {order} | {nats} |")
  return "\n".join(lines) + "\n"


def figure(rows: Sequence[Row], path: Path) -> None:
  """The nats of each model and order, beside the truth."""
  drawn = Figure(figsize=(7, 4), layout="constrained")
  axes = drawn.subplots()
  groups = [item for item in cells(rows, "arm", "order").items() if item[0][1] != TRUTH]
  labels = [f"{arm}: {order}" for (arm, order), _ in groups]
  points = [interval([row["nats"] for row in group]) for _, group in groups]
  means, halves = zip(*points, strict=True)
  axes.barh(labels, means, xerr=halves, color="tab:blue", alpha=0.7)
  if truths := [row["nats"] for row in rows if row["order"] == TRUTH]:
    axes.axvline(truths[0], color="black", linestyle=":", label=TRUTH)
    axes.legend(fontsize=8)
  axes.invert_yaxis()
  axes.set(xlabel="nats a token, lower is better")
  drawn.savefig(path, dpi=120)


FINDING = Finding("any_order", METHODS, config, measure, table, figure, scale=SCALE)
