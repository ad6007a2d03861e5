"""A model that was trained here: which layout can hold it, and its parameters in that layout."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Json
from dlm_jax.interop import family, weights
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, ModelFacts, ProcessFacts
from dlm_jax.interop.hugging_face import abstract_of
from dlm_jax.interop.tensor_writing import by_path
from dlm_jax.model.denoiser import PROCESS
from dlm_jax.model.model import Model
from dlm_jax.networks.base import Network
from dlm_jax.networks.llama import Llama
from dlm_jax.networks.stacked_network import FIELDS_OF_RUNS, StackedNetwork
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.processes.autoregressive import Autoregressive
from dlm_jax.processes.base import Process
from dlm_jax.processes.block import Block

# Fields of a network that change no logits, and those that are compared by what follows from them.
_OF_RUNS = FIELDS_OF_RUNS | {"shared_dropout"}
_SIZES = {
  "expert_width",
  "feedforward_width",
  "head_width",
  "interface",
  "kv_heads",
  "num_labels",
  "rotary_width",
  "tied_head",
  "vocab_rows",
}
# Without meaning where the network is not given the time.
_OF_TIME = {"time_input", "time_scale"}


@dataclass(frozen=True, kw_only=True)
class Layout:
  """The layout that holds a model.

  Attributes:
    family: of the layout.
    config: what `config.json` says.
    network: as it is read back: of the shape of the model's, perhaps with more rows.
  """

  family: CheckpointFamily
  config: dict[str, Json]
  network: Network


def find_layout(model: Model) -> Layout:
  """The layout whose `config.json` describes the model when it is read back.

  Raises:
    UserError: there is none; it names what the nearest one cannot say.
  """
  facts = _facts(model)
  shortest: tuple[str, list[str]] | None = None
  for name in family.names():
    found = family.find(name)
    config = found.own_config(facts)
    if config is None:
      continue
    described = found.describe(ConfigFile(config, "the config.json to write", name))
    network = described.build_network()
    fields = {"vocab_size": described.vocab_size, **described.process}
    process = resolve.make("dlm_jax.processes", fields)
    lost = list(_differences(facts, network, _process_facts(process)))
    if not lost:
      return Layout(family=found, config=config, network=network)
    if shortest is None or len(lost) < len(shortest[1]):
      shortest = name, lost
  kind = f"a {type(model.network).__name__} of the process {facts.process}"
  if shortest is None:
    raise UserError(f"{kind} has no form among the checkpoints of others.")
  raise UserError(
    f"{kind} has no form among the checkpoints of others: the nearest layout is {shortest[0]}, "
    f"which cannot say {', '.join(shortest[1])}."
  )


def parameters(model: Model, layout: Layout) -> dict[str, Array]:
  """The parameters as the network of the layout has them, by their paths.

  A mask outside of the data has an embedding and no column of the head here, and in a layout both.
  Its column is the mean of all others: so it is never the most likely token, and its probability is
  at most 1 / (V + 1). Rows and columns beyond what the process needs are read by nothing.
  """
  params, columns = by_path(model.params), model.network.interface.columns
  wanted = weights.flat(abstract_of(layout.network, model.mesh))
  params["embedding"] = params["embedding"][: wanted["embedding"].shape[0]]
  if "head_kernel" in wanted and "head_kernel" not in params:
    params["head_kernel"] = params["embedding"][:columns].T
  for name in ("head_kernel", "head_bias"):
    if name in wanted:
      read = params[name][..., :columns]
      mean = jnp.mean(read, axis=-1, keepdims=True)
      more = wanted[name].shape[-1] - columns
      params[name] = jnp.concatenate([read, *[mean] * more], axis=-1)
  assert {k: v.shape for k, v in params.items()} == {k: v.shape for k, v in wanted.items()}
  return params


def mask_id(model: Model) -> int | None:
  """The id of the mask; None without one."""
  facts = _process_facts(model.process)
  return None if facts is None else facts.mask_id


def _facts(model: Model) -> ModelFacts:
  """What a family is told of the model.

  Raises:
    UserError: no layout has a process like its own, or a model of labels.
  """
  process = _process_facts(model.process)
  if process is None or PROCESS in model.params or model.num_labels:
    raise UserError(
      f"a model of {type(model.process).__name__} (with {model.num_labels} labels) has no form "
      "among the checkpoints of others: those of absorbing, block of absorbing and autoregressive "
      "have one, without labels and learned schedules."
    )
  network, tokenizer = model.network, model.tokenizer
  assert isinstance(network, StackedNetwork)
  rows = model.process.num_embeddings
  ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}
  if process.begin_id is not None:
    ids["bos"] = process.begin_id
  return ModelFacts(
    network=network,
    process=process,
    rows=rows,
    tied_head=network.tied_head and rows == model.process.vocab_size,
    length=model.length,
    special={f"{name}_token_id": i for name, i in ids.items() if i is not None},
  )


def _process_facts(process: Process) -> ProcessFacts | None:
  """What a layout says of the process; None where no layout has one like it."""
  if isinstance(process, Absorbing):
    return ProcessFacts(name="absorbing", mask_id=process.mask_id)
  if isinstance(process, Block) and isinstance(process.inner, Absorbing):
    inner = process.inner
    return ProcessFacts(name="absorbing", mask_id=inner.mask_id, block_size=process.block_size)
  if isinstance(process, Autoregressive):
    begin = process.mask_id if process.begin_id is None else process.begin_id
    return ProcessFacts(name="autoregressive", begin_id=begin)
  return None


def _differences(
  facts: ModelFacts, network: Network, process: ProcessFacts | None
) -> Iterator[str]:
  """What of a model is otherwise where its layout is read back."""
  if process != facts.process:
    yield f"the process {facts.process}"
  if type(network) is not type(facts.network):
    yield f"network.name {type(facts.network).__name__}"
    return
  read = _shape(network)
  for name, value in _shape(facts.network).items():
    if name not in read or read[name] != value:
      yield f"network.{name} {value}"


def _shape(network: Network) -> dict[str, object]:
  """All of a network that changes its logits but the rows of its vocabulary."""
  assert isinstance(network, StackedNetwork)
  left_out = _OF_RUNS | _SIZES
  if not network.time_conditioned:
    left_out |= _OF_TIME
  fields = {f.name: vars(network)[f.name] for f in dataclasses.fields(network)}
  found = {name: value for name, value in fields.items() if name not in left_out}
  found |= {
    "kv_heads": network.key_heads,
    "head_width": network.size_of_head,
    "rotary_width": network.rotated,
  }
  if isinstance(network, Llama):
    found["feedforward_width"] = network.hidden_width
    if not network.time_conditioned:
      del found["condition_width"]
    if network.experts:
      found["expert_width"] = network.width_of_expert
  return found
