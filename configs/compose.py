"""A config is a corpus and a method: `configs/text8.py:mdlm,preset=tiny` is put together here.

The argument of a config file is a method (a file of configs/methods/, or an alias) and any number
of `name=value` pairs: an argument of the corpus or of the method, or one of `SHORTCUTS`.
"""

import importlib
import inspect
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ml_collections import ConfigDict

METHODS = Path(__file__).parent / "methods"
# Other names of a method, by which papers call it.
ALIASES = {
  "ar": "autoregressive",
  "bd3lm": "block",
  "genmd4": "generalized_absorbing",
  "sedd": "score_absorbing",
  "sedd_uniform": "score_uniform",
  "udlm": "uniform",
}
# Fields that an argument may set, by their short names.
SHORTCUTS = {
  "preset": "network.preset",
  "steps": "training.steps",
  "batch_size": "training.batch_size",
  "length": "data.length",
  "seed": "seed",
}


class Field(NamedTuple):
  """A field that a method sets, by its dotted name, and where its value comes from.

  The source is a paper, with the section or equation where one states it, or "ours: " and a reason.
  """

  name: str
  value: object
  source: str


def methods() -> list[str]:
  """The names of the files in configs/methods/."""
  return sorted(path.stem for path in METHODS.glob("*.py") if path.stem != "__init__")


def config(
  corpus: Callable[..., ConfigDict],
  argument: str,
  *,
  sizes: Mapping[str, Mapping[str, object]] | None = None,
) -> ConfigDict:
  """The config of a corpus and the method that `argument` names.

  Args:
    corpus: returns data, length, and sizes that fit, for masked diffusion.
    argument: a method, `absorbing` if it is left out, and `name=value` pairs, between commas. With
      `recipe=paper` the network, optimizer and budget are those of the method's paper.
    sizes: by method, fields that this corpus sets otherwise than for the other methods.

  Raises:
    ValueError: a method or a pair is unknown.
  """
  items = [item for item in argument.split(",") if item]
  pairs = dict(item.split("=", 1) for item in items if "=" in item)
  name, *more = [item for item in items if "=" not in item] or ["absorbing"]
  if more:
    raise ValueError(f"a config has one method, and {argument!r} names {name!r} and {more[0]!r}.")
  method = find(name)
  own = [_own(function, pairs) for function in (corpus, method.fields)]
  recipe = pairs.pop("recipe", None)
  if recipe not in (None, "paper"):
    raise ValueError(f"recipe is 'paper' or left out, got {recipe!r}.")
  _require_known(pairs, own, corpus, method)
  made = corpus(**own[0])
  if recipe:
    assign(made, getattr(method, "RECIPE", ()))
  assign(made, getattr(method, "BUDGET", ()))
  overrides = (sizes or {}).get(ALIASES.get(name, name), {})
  assign(made, (Field(field, value, "sizes") for field, value in overrides.items()))
  assign(made, (Field(SHORTCUTS[n], _number(v), "argument") for n, v in pairs.items()))
  assign(made, method.fields(made, **own[1]))
  if made.process.name != "absorbing" or made.network.get("time_conditioned"):
    # What the corpus sets there are fields of masked diffusion: the same bound with less noise, for
    # a network that is not given the time.
    made.evaluation.process = {}
  return made


def find(name: str) -> ModuleType:
  """The method of that name or alias. Raises `ValueError` when there is none."""
  known = [*methods(), *ALIASES]
  if name not in known:
    raise ValueError(
      f"there is no method {name!r}: {_nearest(name, known)}The known ones are {', '.join(known)}."
    )
  return importlib.import_module(f"configs.methods.{ALIASES.get(name, name)}")


def _own(function: Callable[..., object], pairs: Mapping[str, str]) -> dict[str, object]:
  """The pairs that are arguments of `function`."""
  parameters = inspect.signature(function).parameters
  return {
    name: value if parameters[name].annotation is str else _number(value)
    for name, value in pairs.items()
    if name in parameters and name != "config"
  }


def _require_known(
  pairs: dict[str, str],
  own: list[dict[str, object]],
  corpus: Callable[..., ConfigDict],
  method: ModuleType,
) -> None:
  """Takes the arguments of corpus and method out of `pairs` and names what is left unknown."""
  for name in [*own[0], *own[1]]:
    pairs.pop(name, None)
  parameters = [*inspect.signature(corpus).parameters, *inspect.signature(method.fields).parameters]
  known = [*(n for n in parameters if n != "config"), *SHORTCUTS, "recipe"]
  for name in pairs:
    if name not in SHORTCUTS:
      raise ValueError(
        f"the argument of a config has no {name!r}: {_nearest(name, known)}It takes a method and "
        f"{', '.join(known)}; any field is set by --config.<field>=<value>."
      )


def assign(config: ConfigDict, fields: Iterable[Field]) -> None:
  """Sets each field of the config."""
  for field in fields:
    *parents, last = field.name.split(".")
    section = config
    for parent in parents:
      section = section[parent]
    section[last] = field.value


def _number(text: str) -> object:
  try:
    return literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _nearest(name: str, known: Iterable[str]) -> str:
  match = get_close_matches(name, list(known), n=1, cutoff=0.5)
  return f"did you mean {match[0]!r}? " if match else ""
