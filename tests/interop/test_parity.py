"""The logits of each family against its fixture: whole rows, padded rows, positions."""

import pytest

from tests.interop import parity

# What the arrays of a fixture are called, and the pattern that the network had.
PADDED = {"llada": ("leftpad", "rightpad")}


@pytest.mark.parametrize("name", PADDED)
def test_logits(name):
  arrays = parity.expected(name)
  parity.assert_close(parity.logits(name, arrays["input_ids"]), arrays["logits"])


@pytest.mark.parametrize("name", PADDED)
def test_logits_of_padded_rows(name):
  arrays = parity.expected(name)
  for side in PADDED[name]:
    valid = arrays[f"{side}_attention_mask"].astype(bool)
    found = parity.logits(name, arrays[f"{side}_input_ids"], valid=valid)
    parity.assert_close(found, arrays[f"{side}_logits"], valid)
