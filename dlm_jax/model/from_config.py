"""The process and the network that a config describes."""

from dataclasses import dataclass

import ml_collections

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.networks.base import Network
from dlm_jax.processes.base import Process
from dlm_jax.processes.facets import HasSigma, meaning

# A vocabulary that is larger than any, for what can be checked before the true one is there.
ANY_VOCABULARY = 1 << 30


@dataclass(frozen=True, kw_only=True)
class ProcessAndNetwork:
  """What a config describes of a model.

  Attributes:
    process: as it is trained and sampled.
    evaluation_process: as it is scored: `config.evaluation.process` sets some fields otherwise.
    network: of the form that the process needs.
  """

  process: Process
  evaluation_process: Process
  network: Network


def build(
  config: ml_collections.ConfigDict, vocab_size: int, num_labels: int = 0
) -> ProcessAndNetwork:
  """The process and the network of `config`, for a vocabulary and a number of labels.

  Raises:
    UserError: a name or a field is unknown, a value is out of range, the network cannot do the
      attention pattern of the process, or `evaluation.process` needs another network.
  """
  process = resolve.make("dlm_jax.processes", config.process, vocab_size=vocab_size)
  network = resolve.make(
    "dlm_jax.networks", config.network, num_labels=num_labels, interface=process.interface
  )
  network.check_pattern(process.pattern)
  if network.reads_sigma and not isinstance(process, HasSigma):
    raise UserError(
      f"network.time_input 'sigma' needs {meaning(HasSigma)}, which {type(process).__name__} is "
      "not: set it to 't'."
    )
  changes = config.evaluation.get("process") or {}
  scored = process
  if changes:
    fields = {**config.process, **changes}
    scored = resolve.make("dlm_jax.processes", fields, vocab_size=vocab_size)
    _require_same_network(process, scored, changes)
  return ProcessAndNetwork(process=process, evaluation_process=scored, network=network)


def _require_same_network(trained: Process, scored: Process, changes: dict[str, object]) -> None:
  """Raises `UserError` where the two processes show the network different things."""
  facts = {
    "network inputs and outputs": (trained.interface, scored.interface),
    "attention pattern": (trained.pattern, scored.pattern),
  }
  for fact, (ours, theirs) in facts.items():
    if ours != theirs:
      raise UserError(
        f"evaluation.process sets {dict(changes)}, which changes the {fact} from {ours} to "
        f"{theirs}: the network was not trained for that, so score it under the process that it "
        "is trained with, and train another model for the other."
      )
