"""Every config in `configs/` describes parts that exist and fit together."""

import importlib
import inspect
from pathlib import Path

import pytest

from dlm_jax import experiment as experiments
from dlm_jax.core import resolve
from dlm_jax.data.preparation import DataConfig
from dlm_jax.processes.parts.times import Times
from dlm_jax.training.config import CheckpointConfig, EvaluationConfig, TrainingConfig
from dlm_jax.training.optimizer import OptimizerConfig

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(p for p in CONFIGS.glob("*/*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_config_resolves(path):
  get_config = importlib.import_module(f"configs.{path.parent.name}.{path.stem}").get_config
  defaults = [p.default for p in inspect.signature(get_config).parameters.values()]
  config = get_config(*["CONTRIBUTING.md" for default in defaults if default is inspect._empty])
  assert set(config) == set(experiments.SECTIONS)
  data = resolve.build(DataConfig, config.data)
  resolve.make("dlm_jax.data.corpora", data.corpus)
  resolve.make("dlm_jax.data.tokenizers", data.tokenizer)
  process = resolve.make("dlm_jax.processes", config.process, vocab_size=27)
  resolve.make("dlm_jax.networks", config.network, interface=process.interface)
  for section, cls in (
    ("training", TrainingConfig),
    ("evaluation", EvaluationConfig),
    ("checkpoint", CheckpointConfig),
    ("optimizer", OptimizerConfig),
    ("times", Times),
  ):
    resolve.build(cls, config[section])
