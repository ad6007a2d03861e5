"""No value of any field of any part gets past the start: one sentence names it, or it builds."""

import typing
from collections.abc import Iterator

import pytest

from dlm_jax import configuration, experiment
from dlm_jax.core import fields, parsing, resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.fields import Field
from dlm_jax.data import preparation
from dlm_jax.evaluation.block_times import BlockTimesSettings
from dlm_jax.evaluation.bound import EvaluateSettings
from dlm_jax.evaluation.lm_eval_tasks import HarnessSettings
from dlm_jax.generation.draw import SAMPLERS, DrawSettings, sampler_of
from dlm_jax.interop.export_settings import ExportSettings

CONFIG = configuration.load(
  "configs/stdlib_docs.py",
  {
    "network.width": 16,
    "network.depth": 1,
    "data.length": 8,
    "training.batch_size": 8,
    "evaluation.batch_size": 8,
    "mesh.data": -1,
  },
)
NUMBERS = ("-1000", "-1", "-0.5", "0", "1e-12", "0.5", "1", "2", "3.7", "1000", "1e9", "1e30")
OTHERS = ("maybe", "None", "", "1,2,3")
NOT_FINITE = ("nan", "inf", "-inf")
PROCESSES, NETWORKS = configuration.FAMILIES["process"], configuration.FAMILIES["network"]


def numbers(field: Field) -> list[object]:
  """The types of numbers that a field holds, alone or in a tuple, with their ranges."""
  kinds = parsing.alternatives(field.type)
  inner = [k for kind in kinds if typing.get_origin(kind) is tuple for k in typing.get_args(kind)]
  return [kind for kind in (*kinds, *inner) if parsing.bare(kind) in (int, float)]


def beyond(field: Field) -> Iterator[str]:
  """Texts of numbers that are just outside the range of a field, or no number that it can take."""
  if not numbers(field):
    return
  many = max(sum(1 for kind in numbers(field)), 1)
  yield from (",".join([text] * many) for text in NOT_FINITE)
  within = parsing.range_of(numbers(field)[0])
  if within is None:
    return
  for bound, outside in (
    (within.at_least, -1),
    (within.above, 0),
    (within.at_most, 1),
    (within.below, 0),
  ):
    if bound is not None:
      yield ",".join([str(bound + outside)] * many)


def test_the_config_that_is_changed_is_right():
  build({})


def of_sections() -> Iterator[tuple[str, Field]]:
  for section in configuration.sections():
    if section in configuration.VALUES:
      yield section, configuration.VALUES[section]
    elif section not in configuration.FAMILIES:
      yield from ((f"{section}.{n}", f) for n, f in configuration.fields_of(section).items())


def build(given: dict[str, str]) -> None:
  config = configuration.override(CONFIG, given)
  preparation.parts(resolve.build(preparation.DataConfig, config.data))
  experiment.build(config.lock(), vocab_size=27)


def require_one_sentence(field: Field, where: str, attempt) -> None:
  """`attempt(text)` gives one sentence for what is out of range, and no traceback for the rest."""
  assert all(parsing.range_of(kind) for kind in numbers(field)), f"{where} states no range"
  for text in beyond(field):
    with pytest.raises(
      UserError, match=rf"{where}\S* must .*, got {text!r}\.$".replace("+", "\\+")
    ):
      attempt(text)
  for text in (*NUMBERS, *OTHERS):
    try:
      attempt(text)
    except UserError as error:
      assert "\n" not in str(error)


def plain(known: dict[str, Field]) -> list[Field]:
  return [field for field in known.values() if field.family is None]


@pytest.mark.parametrize(("where", "field"), list(of_sections()), ids=lambda v: str(v)[:30])
def test_a_section(where, field):
  if field.family is None:
    require_one_sentence(field, where, lambda text: build({where: text}))


@pytest.mark.parametrize(
  ("section", "name"),
  [("process", n) for n in PROCESSES.names()] + [("network", n) for n in NETWORKS.names()],
)
def test_a_process_and_a_network(section, name):
  for field in plain(configuration.FAMILIES[section].fields(name)):
    where = f"{section}.{field.name}"
    require_one_sentence(
      field, where, lambda text, where=where: build({f"{section}.name": name, where: text})
    )


@pytest.mark.parametrize("process", ["absorbing", "gaussian"])
def test_a_schedule(process):
  family = PROCESSES.fields(process)["schedule"].family
  for name in family.names():
    for field in plain(family.fields(name)):
      where = f"process.schedule.{field.name}"
      given = {"process.name": process, "process.schedule.name": name}
      require_one_sentence(
        field, where, lambda text, given=given, where=where: build({**given, where: text})
      )


@pytest.mark.parametrize("part", ["corpus", "tokenizer"])
def test_a_part_of_the_data(part):
  family = fields.of_dataclass(configuration.DATACLASSES["data"])[part].family
  for name in family.names():
    for field in plain(family.fields(name)):
      where = f"data.{part}.{field.name}"
      require_one_sentence(
        field, where, lambda text, n=name, where=where: build({f"data.{part}": n, where: text})
      )


@pytest.mark.parametrize(
  ("settings", "others"),
  [
    (DrawSettings, {}),
    (EvaluateSettings, {"workdir": "run"}),
    (HarnessSettings, {"workdir": "run", "tasks": ("a",)}),
    (BlockTimesSettings, {"workdir": "run"}),
    (ExportSettings, {"workdir": "run", "output": "nowhere_yet"}),
  ],
)
def test_the_settings_of_a_command(settings, others):
  for field in fields.of_dataclass(settings).values():
    for text in beyond(field):
      with pytest.raises(UserError, match=f"--{field.name} must "):
        settings(**others, **{field.name: float(text)})


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_the_source_of_a_sampler_tells_its_settings(name):
  """As its import does, which `--help` goes without."""

  def told(field):
    return field.name, field.default, field.sentence

  docstring, found = SAMPLERS.read_source(name)
  assert docstring.splitlines()[0] == resolve.module(SAMPLERS.package, name).__doc__.splitlines()[0]
  assert list(map(told, found)) == list(map(told, SAMPLERS.fields(name).values()))


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_sampler(name):
  for field in SAMPLERS.fields(name).values():
    require_one_sentence(
      field, f"--sampler.{field.name}", lambda text, n=field.name: sampler_of(name, {n: text})
    )
