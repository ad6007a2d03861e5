"""The variance of block diffusion's loss under each interval of times it could be trained on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console
from rich.table import Table

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Params, Record
from dlm_jax.data.store import Rows
from dlm_jax.distributed import progress
from dlm_jax.distributed.mesh import rows_of_batch
from dlm_jax.distributed.sharding import batch_sharding
from dlm_jax.evaluation.evaluation_settings import BlockTimesSettings
from dlm_jax.evaluation.likelihood import BindParams
from dlm_jax.interop.opening import load
from dlm_jax.model.denoiser import bound
from dlm_jax.model.model import training_data
from dlm_jax.processes.base import free
from dlm_jax.processes.block import Block
from dlm_jax.processes.draws import row_keys
from dlm_jax.processes.parts.times import Times
from dlm_jax.runs import provenance, workdir

WIDTHS = (10, 12, 14, 16, 18, 20)  # in twentieths
# All intervals of these widths on a grid of twentieths, `[I, 2]`; the last is the whole of [0, 1].
INTERVALS = np.array([(a, a + w) for w in WIDTHS for a in range(21 - w)], np.float32) / 20


LossesOfBatch = Callable[..., Array]


def losses(process: Block, denoiser: BindParams, times: Times) -> LossesOfBatch:
  """Returns `(params, key, tokens [B, L], given, unscored, labels) -> [I]`: loss under `INTERVALS`.

  Nats a scored token of one batch; all intervals share the noise and the ranks of the times.
  """

  @jax.jit
  def of_batch(
    params: Params,
    key: Array,
    tokens: Array,
    given: Array | None,
    unscored: Array | None = None,
    labels: Array | None = None,
  ) -> Array:
    time_key, noise_key = jax.random.split(key)
    t, _ = times.draw(time_key, tokens.shape[0], process)
    noise = row_keys(noise_key, tokens.shape[0])
    scored = free(given, tokens.shape) & free(unscored, tokens.shape)

    denoise = denoiser(params) if labels is None else denoiser(params, labels)
    learned, denoise = bound(process, denoise)
    assert isinstance(learned, Block)

    def of_interval(clip: Array) -> Array:
      loss = learned.loss_within(clip, noise, denoise, tokens, t, given)
      return jnp.sum(jnp.where(scored, loss, 0.0)) / jnp.maximum(jnp.sum(scored), 1)

    return jax.lax.map(of_interval, jnp.asarray(INTERVALS))

  return of_batch


def summarize(table: np.ndarray) -> list[Record]:
  """Mean and variance over batches of the losses `[batches, I]`, the smallest variance first."""
  mean, variance = table.mean(0, dtype=float), table.var(0, ddof=1, dtype=float)
  return [
    {
      "clip": [round(float(end), 2) for end in INTERVALS[i]],
      "loss": float(mean[i]),
      "variance": float(variance[i]),
    }
    for i in np.argsort(variance, kind="stable")
  ]


def search(settings: BlockTimesSettings) -> Record:
  """Searches and returns the record written to `<workdir>/clip-step*.json`.

  Raises:
    UserError: there is no such run, it is not one of block diffusion, or its data is not here.
  """
  model = load(settings.workdir, step=settings.step, weights=settings.weights)
  if not isinstance(model.process, Block):
    raise UserError(
      f"the run in {settings.workdir} is of {type(model.process).__name__}: only block "
      "diffusion has a process.clip, so name a run of it."
    )
  rows = training_data(model).rows(settings.split)
  config = model.provenance.config
  size = rows_of_batch(config["training"]["batch_size"], model.mesh)
  times = resolve.build(Times, config["times"])
  table = losses_of_batches(
    losses(model.process, model.denoiser, times),
    model.params,
    RandomBatches(rows, size, (settings.seed,), model.mesh),
    jax.random.key(settings.seed),
    progress.track(range(settings.batches), "searching"),
  )
  if not np.all(np.isfinite(table)):
    raise model.unusable("give a loss that is not a number")
  record: Record = {
    "intervals": summarize(table),
    "batches": settings.batches,
    "batch_size": size,
    "split": settings.split,
    "seed": settings.seed,
    **provenance.protocol(model.provenance),
  }
  if jax.process_index() == 0:
    name = record_name(settings, model.provenance.step)
    workdir.write_record(settings.workdir, name, record)
  return record


@dataclass(frozen=True)
class RandomBatches:
  """Batches of `size` random rows, number n a function of (seed, n)."""

  rows: Rows
  size: int
  seed: tuple[int, ...]
  mesh: jax.sharding.Mesh

  def __getitem__(self, number: int) -> dict[str, Array]:
    chosen = np.random.default_rng((*self.seed, number)).choice(len(self.rows), self.size)
    return jax.device_put(self.rows[np.sort(chosen)], batch_sharding(self.mesh))


def losses_of_batches(
  of_batch: LossesOfBatch,
  params: Params,
  batches: RandomBatches,
  key: Array,
  numbers: Iterable[int],
) -> np.ndarray:
  """The losses `[batches, I]` of the batches `numbers`, the noise a function of (key, number)."""
  table = []
  with jax.set_mesh(batches.mesh):
    for number in numbers:
      batch, noise = batches[number], jax.random.fold_in(key, number)
      optional = (batch.get(name) for name in ("given", "unscored", "label"))
      table.append(of_batch(params, noise, batch["tokens"], *optional))
  return np.asarray(table)


def best(table: np.ndarray) -> np.ndarray | None:
  """The interval `[2]` narrower than [0, 1] under which the losses `[batches, I]` vary least.

  None where they are not finite.
  """
  if not np.all(np.isfinite(table)):
    return None
  return INTERVALS[np.argmin(table[:, :-1].var(0, dtype=float))]


def record_name(settings: BlockTimesSettings, step: int) -> str:
  """Where in the workdir the record goes; it holds every setting that changes the numbers."""
  name = f"clip-step{step}-{settings.split}-{settings.weights}"
  return f"{name}-batches{settings.batches}-seed{settings.seed}.json"


def show(console: Console, record: Record) -> None:
  """Prints the intervals, the best first, and what to set."""
  shown = Table("from", "to", "loss (nats a token)", "variance")
  for row in record["intervals"]:
    first, last = row["clip"]
    shown.add_row(f"{first:.2f}", f"{last:.2f}", f"{row['loss']:.4f}", f"{row['variance']:.3e}")
  console.print(shown)
  first, last = record["intervals"][0]["clip"]
  console.print(f"--config.process.clip='({first:.2f}, {last:.2f})'", highlight=False)


def main(settings: BlockTimesSettings) -> None:
  """The command `tune_block_times`."""
  record = search(settings)
  if jax.process_index() == 0:
    show(Console(), record)
