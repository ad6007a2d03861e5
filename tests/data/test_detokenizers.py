"""The detokenizers of the papers, held to examples of what their rules do."""

import pytest

from dlm_jax.data.detokenizers import DETOKENIZERS


@pytest.mark.parametrize(
  ("name", "text", "expected"),
  [
    ("none", "as it , is", "as it , is"),
    (
      "wikitext",
      " the 1 @,@ 000 well @-@ known 3 @.@ 5 ( a ) , and b . c",
      " the 1,000 well-known 3.5 (a), and b. c",
    ),
    ("wikitext", ' = = = A = = = \n he said " no " ; so', ' === A ===\nhe said "no"; so'),
    ("wikitext", "the dog 's 20 ° C in [ 3 ]", "the dog's 20°C in [3]"),
    ("ptb", "the firms ' profit was $ N N N", "the firms' profit was $1 1 N"),
    ("ptb", "it does n't matter <unk> 's # N to", "it doesn't matter ?'s #1 to"),
    ("ptb", "a 1\\/2 point", "a 1/2 point"),
    ("lm1b", 'it \'s http : / / a.b , " yes " ? no !', 'it\'s http://a.b, "yes"? no!'),
    ("lm1b", "is it and / or ( so ) $ 3 ?", "is it and/or (so) $3?"),
    ("lm1b", "it is . It ended .", "it is. It ended."),
    ("lambada", " “ so ” she said \n", '\n" so " she said'),
    ("scientific", "see [ 3 ] , the p @-@ value ( n ) , so", "see [3], the p-value (n), so"),
  ],
)
def test_what_a_tokenisation_did_is_undone(name, text, expected):
  assert DETOKENIZERS[name](text) == expected
