"""Presets by name, and what the command line changes of one."""

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.decoding import named_decoders
from dlm_jax.decoding.published import NAMED
from dlm_jax.interop import family


@pytest.mark.parametrize("name", NAMED)
def test_every_preset_is_a_decoder_of_its_families(name):
  for meant in NAMED[name].families or (None,):
    made = named_decoders.of(name, {}, meant, NAMED[name].has_noise)
    assert made.length >= 64 and made.revision.has_noise == NAMED[name].has_noise


def test_families_are_those_of_interop_and_have_a_decoder_of_their_own():
  families = {name for named in NAMED.values() for name in named.families}
  assert families <= set(family.names())
  for name in families:
    assert name in NAMED[named_decoders.default_of(name)].families
  assert named_decoders.default_of(None) == "greedy"
  assert named_decoders.default_of("duo", has_noise=True) == "renoise"


def test_settings_replace_fields_and_parts():
  made = named_decoders.of(
    "llada_fast_dual",
    {
      "cache.refresh_every": "4",
      "rule.threshold": "0.8",
      "length": "64",
      "doubted": "3,5",
      "stop": "false",
    },
  )
  assert made.cache.name == "dual" and made.cache.refresh_every == 4
  assert made.rule.threshold == 0.8 and made.rule.inclusive
  assert (made.length, made.doubted, made.stop) == (64, (3, 5), False)
  # Another rule starts from its own defaults.
  other = named_decoders.of("llada_fast_dual", {"rule.factor": "2", "rule": "factor"})
  assert other.rule.name == "factor" and other.rule.factor == 2.0


@pytest.mark.parametrize(
  ("name", "settings", "family", "message"),
  [
    ("lada", {}, None, "did you mean 'llada'"),
    ("dream", {}, "llada", r"is of dream models, and this is a llada model: .* llada, .*greedy\."),
    ("renoise", {}, "llada", r"is of models of random tokens, and this is a llada model"),
    ("llada", {"lenght": "3"}, None, "did you mean 'length'"),
    ("llada", {"rule": "treshold"}, None, "did you mean 'threshold'"),
    ("llada", {"rule.treshold": "1"}, None, "has no .*'treshold'"),
    ("llada", {"length": "many"}, None, "--decoder.length"),
    ("llada", {"doubted": "a,b"}, None, "--decoder.doubted is token ids"),
    ("llada", {"block": "48"}, None, "a block of 48 does not fit"),
  ],
)
def test_what_cannot_be_is_refused(name, settings, family, message):
  with pytest.raises(UserError, match=message):
    named_decoders.of(name, settings, family)
