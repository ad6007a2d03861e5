"""Every corpus goes with every method, and the command line replaces every part by its name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import compose
from dlm_jax import config_description, configuration, experiment
from dlm_jax.core import fields, resolve
from dlm_jax.core.errors import UserError
from dlm_jax.data import packing
from dlm_jax.training import checks, optimizer

QUICKSTART = "configs/stdlib_docs.py"
# The quickstart with tiny shapes, which compile in no time.
SMALL = {
  "network.width": "16",
  "network.depth": "1",
  "data.length": "8",
  "training.batch_size": "8",
  "evaluation.batch_size": "8",
}
VOCABULARY = 27


def load(argument="", **given):
  return configuration.load(f"{QUICKSTART}:{argument}" if argument else QUICKSTART, SMALL | given)


def build(config):
  return experiment.build(config.lock(), vocab_size=VOCABULARY)


def batch(built):
  tokens = jax.ShapeDtypeStruct((8, built.length), jnp.int32)
  return {"tokens": tokens}


def trace(built):
  """The shapes after one step, without compiling it."""
  with jax.set_mesh(built.mesh):
    return jax.eval_shape(built.compile_step(), built.abstract_state, batch(built))


@pytest.mark.parametrize("method", [*compose.methods(), *compose.ALIASES])
@pytest.mark.parametrize("corpus", configuration.corpora())
def test_every_corpus_goes_with_every_method(corpus, method):
  path = ",path=book.txt" if "/my_" in corpus else ""
  config = configuration.load(f"{corpus}:{method}{path}")
  checks.check_splits(resolve.make("dlm_jax.data.corpora", config.data.corpus).splits)
  resolve.make("dlm_jax.data.tokenizers", config.data.tokenizer)
  # Anything that a step refuses is refused when it is built: the head's economies, the times.
  build(config)


@pytest.mark.parametrize("method", compose.methods())
def test_each_field_of_a_method_has_a_source_and_is_set(method):
  module = compose.find(method)
  config = configuration.read(f"configs/text8.py:{method},recipe=paper")
  base = configuration.read("configs/text8.py:absorbing,recipe=paper")
  budget = vars(module).get("BUDGET", ())
  last = {f.name: f for f in (*module.RECIPE, *budget, *module.fields(base))}
  for name, field in last.items():
    assert any(char.isdigit() for char in field.source) or field.source.startswith("ours: ")
    value = config
    for part in name.split("."):
      value = value[part]
    if isinstance(value, ConfigDict):
      value = value.to_dict()
      if "process.curriculum_steps" in last:
        value["curriculum_steps"] = base.training.steps // 2
    assert value == field.value


def plain(known, value):
  """`value` as a user would type it."""
  if isinstance(value, tuple):
    return ",".join(str(entry) for entry in value)
  return str(value)


def settings(where, family, name):
  """Every field of a part that has a plain default, set to it: text by dotted name."""
  found = {f"{where}.name": name}
  for field in family.fields(name).values():
    if field.family is None and isinstance(field.default, bool | int | float | str):
      found[f"{where}.{field.name}"] = plain(field, field.default)
  return found


@pytest.mark.parametrize("name", configuration.FAMILIES["process"].names())
def test_a_process_is_replaced_by_its_name(name):
  config = load(**{"process.name": name})
  assert config.process.name == name
  metrics = trace(build(config))[1]
  assert metrics["loss"].shape == ()
  given = settings("process", configuration.FAMILIES["process"], name)
  full = load(**given)
  assert {f"process.{n}" for n in full.process} >= given.keys()


@pytest.mark.parametrize("name", configuration.FAMILIES["network"].names())
def test_a_network_is_replaced_by_its_name(name):
  config = load(**{"network.name": name})
  trace(build(config))
  given = settings("network", configuration.FAMILIES["network"], name)
  assert {f"network.{n}" for n in load(**given).network} >= given.keys() - {"network.preset"}


def schedules(process):
  return fields.Modules("dlm_jax.processes").fields(process)["schedule"].family


@pytest.mark.parametrize("process", ["absorbing", "gaussian"])
def test_every_schedule_is_chosen_by_its_name_and_each_of_its_fields_set(process):
  for name in schedules(process).names():
    given = settings("process.schedule", schedules(process), name)
    config = load(**{"process.name": process}, **given)
    assert config.process.schedule.name == name
    build(config)


@pytest.mark.parametrize("name", resolve.names("dlm_jax.data.tokenizers"))
def test_a_tokenizer_is_replaced_by_its_name(name):
  given = {"data.tokenizer.train_vocab_size": "512"} if name == "hf" else {}
  config = load(**{"data.tokenizer.name": name}, **given)
  made = resolve.make("dlm_jax.data.tokenizers", config.data.tokenizer)
  assert name != "hf" or made.train_vocab_size == 512


@pytest.mark.parametrize("name", resolve.names("dlm_jax.data.corpora"))
def test_a_corpus_is_replaced_by_its_name(name):
  own = {
    "text_files": {"data.corpus.paths": "book.txt"},
    "hf_dataset": {"data.corpus.files.train": "a.txt"},
    "pairs": {"data.corpus.paths": "pairs.jsonl"},
  }
  config = load(**{"data.corpus": name}, **own.get(name, {}))
  resolve.make("dlm_jax.data.corpora", config.data.corpus)


@pytest.mark.parametrize("name", packing.PACKINGS)
def test_a_packing_is_chosen_by_its_name(name):
  assert load(**{"data.packing": name}).data.packing == name


@pytest.mark.parametrize("name", optimizer.CHOICES["name"])
def test_an_optimizer_is_chosen_by_its_name(name):
  config = load(**{"optimizer.name": name, "optimizer.schedule_learning_rate": "1e-3"})
  trace(build(config))


def test_a_block_takes_any_process_and_its_fields():
  inner = {"process.inner.name": "duo", "process.inner.curriculum_steps": "1e2"}
  config = load(**{"process.name": "block"}, **inner)
  assert config.process.inner.to_dict() == {"name": "duo", "curriculum_steps": 100}
  trace(build(config))


@pytest.mark.parametrize("process", ["uniform", "gaussian"])
def test_a_step_is_taken_with_a_replaced_process(process):
  built = build(load(**{"process.name": process}))
  rows = {"tokens": jnp.arange(8 * built.length).reshape(8, -1) % VOCABULARY}
  with jax.set_mesh(built.mesh):
    state, metrics = built.compile_step()(jax.jit(built.init_state)(), rows)
  assert int(state.step) == 1 and np.isfinite(metrics["loss"])


def test_what_a_replacement_drops_and_leaves_open_is_said():
  config = load(**{"process.name": "hybrid", "process.p_u": "0.2"})
  (entry,) = config.replaced
  assert (entry["was"], entry["name"], entry["part"]) == ("absorbing", "hybrid", "process")
  assert entry["dropped"] == ("masking", "weight_cap", "weighting")
  assert entry["defaults"] == ("schedule",)
  (sentence,) = configuration.replacements(config)
  assert sentence.startswith("config.process: hybrid in the place of absorbing; dropped masking,")
  # A part that keeps its name keeps what the file sets.
  assert "replaced" not in load(**{"process.weight_cap": "3"})


def test_what_both_parts_know_is_kept():
  given = {"process.schedule.name": "polynomial", "process.schedule.exponent": "3"}
  polynomial = load(**given)
  kept = configuration.override(polynomial, {"process.name": "uniform"})
  assert kept.process.to_dict() == {
    "name": "uniform",
    "schedule": {"name": "polynomial", "exponent": 3.0},
  }
  # A schedule of Gaussian noise that goes by the name of another kind has other fields.
  assert "exponent" not in configuration.override(polynomial, {"process.name": "gaussian"}).process


def test_arguments_come_before_the_method():
  """So that a curriculum is half of the steps that are asked for."""
  config = configuration.load(f"{QUICKSTART}:duo,steps=100,seed=3")
  assert (config.training.steps, config.process.curriculum_steps, config.seed) == (100, 50, 3)
  assert configuration.load("configs/text8.py:bd3lm,block_size=8").process.block_size == 8


@pytest.mark.parametrize(
  ("given", "sentence"),
  [
    ({"trainin.steps": "5"}, "no section of the config 'trainin': did you mean 'training'"),
    ({"times": "5"}, "config.times is a section"),
    ({"data.pakcing": "x"}, "config.data has no field 'pakcing': did you mean 'packing'"),
    ({"process.maskin": "x"}, r"config.process \(absorbing\) has no field 'maskin': did you mean"),
    ({"process.p_u": "0.1"}, r"config.process \(absorbing\) has no field 'p_u'"),
    ({"process.name": "uniform", "process.masking": "counted"}, "uniform.* no field 'masking'"),
    ({"process.name": "unifrm"}, "no config.process.name 'unifrm': did you mean 'uniform'"),
    ({"process.schedule.exponent": "3"}, r"schedule \(linear\) has no field 'exponent'"),
    ({"process.schedule": "sine"}, "no config.process.schedule.name 'sine'"),
    ({"network.widht": "3"}, "has no field 'widht': did you mean 'width'"),
    ({"data.tokenizer.name": "hff"}, "no config.data.tokenizer.name 'hff': did you mean 'hf'"),
    ({"optimizer.lr": "3"}, "config.optimizer has no field 'lr'"),
    ({"mesh.fdsp": "2"}, "config.mesh has no field 'fdsp': did you mean 'fsdp'"),
    ({"evaluation.process.p_u": "1"}, "config.evaluation.process has no field 'p_u'"),
    ({"training.steps": "many"}, "config.training.steps must be a whole number, got 'many'"),
    ({"training.steps": "1.5"}, "must be a whole number"),
    ({"network.qk_norm": "maybe"}, "must be true or false, got 'maybe'"),
    ({"process.name": "block", "process.clip": "0.5"}, "must be 2 values such as 0.3,0.8"),
  ],
)
def test_mistakes_are_named(given, sentence):
  with pytest.raises(UserError, match=sentence):
    load(**given)


@pytest.mark.parametrize(
  ("path", "sentence"),
  [
    ("configs/nope.py", "no config file 'configs/nope.py': A config is .*are configs/lm1b.py"),
    ("configs/stdlib_docs", "did you mean 'stdlib_docs'.* as in configs/stdlib_docs.py:absorbing"),
    ("configs/text_files/absorbing.py:tiny", "'configs/text_files/absorbing.py': A config is a"),
    ("configs", "'configs' is a directory"),
    ("README.md", "no Python file"),
    ("configs/defaults.py:mdlm", "takes no argument: leave out ':mdlm'"),
    ("configs/compose.py", "no function get_config: name another"),
    ("configs/text8.py:mdml", "no method 'mdml': did you mean 'mdlm'"),
    ("configs/text8.py:mdlm,duo", "names 'mdlm' and 'duo'"),
    ("configs/text8.py:mdlm,prset=tiny", "has no 'prset': did you mean 'preset'"),
    ("configs/my_text.py", "needs a text"),
    ("configs/my_pairs.py", "needs pairs"),
    ("configs/puzzles.py:absorbing,task=chess", "no task 'chess'"),
  ],
)
def test_mistakes_of_a_path_are_named(path, sentence):
  with pytest.raises(UserError, match=sentence):
    configuration.load(path)


def test_a_config_file_that_is_torn_is_named(tmp_path):
  (tmp_path / "torn.py").write_text("def get_config(:\n")
  with pytest.raises(UserError, match=r"torn\.py' cannot be read"):
    configuration.load(str(tmp_path / "torn.py"))


def test_the_page_of_a_config_shows_every_field_with_its_meaning():
  lines = config_description.describe(load("mdlm")).splitlines()
  (masking,) = (line for line in lines if " process.masking = " in line)
  assert masking.startswith("* process.masking = independent  # ")
  (timesteps,) = (line for line in lines if " process.timesteps = " in line)
  assert timesteps.startswith("  process.timesteps = None  # ")
  assert any(line.startswith("* process.schedule.name = linear") for line in lines)
