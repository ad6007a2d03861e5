"""What a family of checkpoints is: how one is recognised, what it describes, what its tensors are.

A family is a file of `families` that defines `make() -> CheckpointFamily`, and is called like it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.types import Fields, Json, Record
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network

# How masked models of whole rows are scored (Nie et al. 2025, algorithm 3): the bound is the same,
# and its estimate has less variance.
COUNTED = {"masking": "counted"}
PACKAGE = "dlm_jax.interop.families"


@dataclass(frozen=True, kw_only=True)
class Description:
  """What a `config.json` says, in the terms of our configs.

  Attributes:
    family: the name of the family.
    vocab_size: V of the process. Where the files hold more rows, as for a mask that is no token,
      `network` says how many by `vocab_rows`.
    length: the longest row that the model was made for.
    network: `network` of a config: its name and fields.
    process: `process` of a config; its `mask_id` is None where `config.json` does not say it.
    mask_tokens: what the mask's symbol may be called in the tokenizer.
    data: `packing`, `scored` and `padding` of a config: how text became rows, and which positions
      count, where the model was trained and is reported on. Open are windows of joined texts, all
      of whose tokens are scored.
    scored_as: `evaluation.process` of a config: fields of the process in which models of the family
      are scored otherwise.
  """

  family: str
  vocab_size: int
  length: int
  network: Fields
  process: Fields
  mask_tokens: tuple[str, ...] = ()
  data: Fields = field(default_factory=dict)
  scored_as: Fields = field(default_factory=dict)

  @property
  def rows(self) -> int:
    """Of the embedding in the files, at least as many as the tokenizer has symbols."""
    stated = self.network.get("vocab_rows", 0)
    assert isinstance(stated, int)
    return max(self.vocab_size, stated)

  @property
  def needs_mask(self) -> bool:
    """Whether the id of the mask must be looked up in the tokenizer."""
    inner = self._masked
    return "mask_id" in inner and inner["mask_id"] is None

  def with_mask(self, mask_id: int) -> Fields:
    """`process` with the id of the mask."""
    masked = {**self._masked, "mask_id": mask_id}
    return {**self.process, "inner": masked} if "inner" in self.process else masked

  @property
  def _masked(self) -> Fields:
    """The process that has the mask: that of each block, where there are blocks."""
    inner = self.process.get("inner")
    return inner if isinstance(inner, Mapping) else self.process

  def build_network(self, **fields: object) -> Network:
    """The network, with `fields` of a run (dtype, attention) in place of its own."""
    interface = NetworkInterface(columns=self.vocab_size, num_embeddings=self.vocab_size)
    return resolve.make("dlm_jax.networks", {**self.network, **fields}, interface=interface)


@dataclass(frozen=True, kw_only=True)
class ProcessFacts:
  """What a layout says of a process.

  Attributes:
    name: of the process; that of each block where there are blocks.
    mask_id: of `absorbing`.
    block_size: None without blocks.
    begin_id: of `autoregressive`.
  """

  name: str
  mask_id: int | None = None
  block_size: int | None = None
  begin_id: int | None = None

  def __str__(self) -> str:
    return self.name if self.block_size is None else f"{self.name} in blocks of {self.block_size}"


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
  """A model of ours that is to be written in a layout.

  Attributes:
    network: of the model.
    process: of the model.
    rows: of the embedding in the file.
    tied_head: whether the head is the embedding in the file too.
    length: of a row in training.
    special: the ids of the tokenizer's symbols, such as `eos_token_id`.
  """

  network: Network
  process: ProcessFacts
  rows: int
  tied_head: bool
  length: int
  special: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CheckpointFamily:
  """A layout of checkpoints.

  Attributes:
    architectures: what stands under `architectures` in the `config.json` of one.
  """

  architectures: ClassVar[tuple[str, ...]] = ()

  @property
  def name(self) -> str:
    return resolve.name_of(self)

  def recognises(self, config: Mapping[str, Json]) -> bool:
    """Whether a `config.json` is of this family."""
    stated = config.get("architectures")
    return isinstance(stated, list) and bool(set(stated) & set(self.architectures))

  def describe(self, config: ConfigFile) -> Description:
    """What the `config.json` says. It reads every field that changes the logits.

    Raises:
      UserError: a field is missing, or has a value that cannot be computed here.
    """
    raise NotImplementedError

  def name_map(self, network: Network) -> NameMap:
    """The name map, for a network of `describe`."""
    raise NotImplementedError

  def config(self, description: Description) -> Record:
    """The `config.json` that `describe` reads so, the inverse of it."""
    raise UserError(
      f"a model cannot be written as a {self.name} checkpoint ({description.family})."
    )

  def own_config(self, model: ModelFacts) -> Record | None:
    """The `config.json` of a model of ours in this layout; None where it is not for such models.

    It need not look at all of the model: what it says is read back by `describe` and compared.
    """
    del model
    return None


def names() -> list[str]:
  """The families there are."""
  return resolve.names(PACKAGE)


def find(name: str) -> CheckpointFamily:
  """The family called `name`. Raises `UserError` with the known names if there is none."""
  return resolve.make(PACKAGE, {"name": name})


def recognise(fields: Mapping[str, Json], path: str) -> CheckpointFamily:
  """The family of the `config.json` in `path`.

  Raises:
    UserError: it is of none, or of several.
  """
  found = [family for family in map(find, names()) if family.recognises(fields)]
  if len(found) == 1:
    return found[0]
  stated = {name: fields.get(name) for name in ("architectures", "model_type")}
  if found:
    raise UserError(f"{path} ({stated}) is of several families: {[f.name for f in found]}.")
  raise UserError(
    f"{path} is of no family that can be opened ({stated}). The known ones are "
    f"{', '.join(names())}."
  )
