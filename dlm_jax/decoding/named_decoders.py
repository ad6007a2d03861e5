"""A published decoder by its name, with what the command line changes of it."""

import dataclasses
from collections.abc import Mapping

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.fields import Modules, of_dataclass, require_field
from dlm_jax.core.types import Record
from dlm_jax.decoding import base, decoders
from dlm_jax.decoding.caches import Cache
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.published import NAMED, NamedDecoder

# Those that a setting such as `rule.threshold` reaches into.
_PARTS = {"rule": Modules(base.RULES), "revision": Modules(base.REVISIONS)}


def of(
  name: str,
  settings: Mapping[str, str],
  family: str | None = None,
  has_noise: bool = False,
) -> Decoder:
  """The decoder `name`, with `settings` as the command line gives them in place of its own.

  Args:
    name: one of `published.NAMED`.
    settings: texts by field: `length`, `rule` (a name, which then begins with its defaults),
      `rule.threshold`, `cache` (a name), `cache.refresh_every`.
    family: of the checkpoint; None where the model is not one.
    has_noise: whether the model was trained with random tokens.

  Raises:
    UserError: there is no such decoder or setting, a value is out of range, or the decoder is meant
      for models of another family or of other noise.
  """
  require_known("preset of a decoder", name, NAMED)
  chosen = NAMED[name]
  fitting = [n for n, named in NAMED.items() if _fits(named, family, has_noise)]
  if name not in fitting:
    meant, this = "any models with a mask", "a model of random tokens"
    if not has_noise:
      meant, this = "models of random tokens", f"a {family or 'masked'} model"
    if chosen.families:
      meant = f"{' and '.join(chosen.families)} models"
    raise UserError(
      f"the preset {name!r} is of {meant}, and this is {this}: choose one of {', '.join(fitting)}."
    )
  fields: Record = {**chosen.fields}
  for setting in sorted(settings):  # `rule` comes before `rule.threshold`
    _put(fields, setting, settings[setting])
  return decoders.make(**fields)


def _fits(named: NamedDecoder, family: str | None, has_noise: bool) -> bool:
  """Whether a decoder is meant for a model of the family, or of none, and of the noise."""
  of_family = family is None or not named.families or family in named.families
  return of_family and named.has_noise == has_noise


def _put(fields: Record, setting: str, text: str) -> None:
  """Sets one field, or a field of a part, from its text."""
  part, dot, inner = setting.partition(".")
  where = f"--decoder.{setting}"
  if part in ("rule", "revision", "cache"):
    if not dot:
      fields[part] = {"name": text}
      return
    default = {"rule": "top_n", "revision": "keep", "cache": "none"}[part]
    given = fields.get(part)
    config = dict(given) if isinstance(given, Mapping) else {"name": default}
    known = of_dataclass(Cache) if part == "cache" else _PARTS[part].fields(config["name"])
    require_field(f"the {part} {config['name']!r}", inner, known)
    fields[part] = {**config, inner: known[inner].read(text, where)}
    return
  known = of_dataclass(Decoder)
  require_field("a decoder", setting, [*known, *(f"{p}.SETTING" for p in _PARTS)])
  if setting in ("suppressed", "doubted"):
    fields[setting] = _token_ids(text, where)
  else:
    fields[setting] = known[setting].read(text, where)


def _token_ids(text: str, where: str) -> tuple[int, ...]:
  """Ids with commas between them."""
  try:
    return tuple(int(token) for token in text.split(",") if token)
  except ValueError:
    raise UserError(f"{where} is token ids with commas between them, got {text!r}.") from None


def default_of(family: str | None, has_noise: bool = False) -> str:
  """The preset of a family of checkpoints: the first that is meant for it, else that of any model
  of the noise, `greedy` or `renoise`."""
  of_any = "renoise" if has_noise else "greedy"
  return next((name for name, named in NAMED.items() if family in named.families), of_any)


def describe(decoder: Decoder) -> Record:
  """All settings of a decoder, its parts with their names."""
  fields = dataclasses.asdict(decoder)
  for part, value in (("rule", decoder.rule), ("revision", decoder.revision)):
    fields[part] = {"name": value.name, **fields[part]}
  return fields
