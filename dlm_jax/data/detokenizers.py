"""What a data set's tokenisation did to its text, undone: a rule after the other.

The rules are those of SEDD, MDLM, BD3-LM and Duo, since their zero-shot numbers depend on each of
them, also where a rule is not what one would choose: PTB's numbers all become 1, and `s '` is taken
for a possessive.
"""

import re
from collections.abc import Callable

Detokenizer = Callable[[str], str]
# A pattern and what takes its place.
Rule = tuple[str, str]


def _tight(marks: str) -> list[Rule]:
  """Each of the marks between two spaces moves to the word before it."""
  return [(f" {re.escape(mark)} ", f"{mark} ") for mark in marks]


def _rules(*rules: Rule) -> Detokenizer:
  compiled = [(re.compile(pattern), by) for pattern, by in rules]

  def detokenize(text: str) -> str:
    for pattern, by in compiled:
      text = pattern.sub(by, text)
    return text

  return detokenize


def _lambada(text: str) -> str:
  """Straight double quotes; the text stands on a line of its own."""
  return "\n" + re.sub("[“”]", '"', text).strip()


_WIKITEXT = _rules(
  ("s '", "s'"),
  *((f" @{re.escape(mark)}@ ", mark) for mark in "-,."),
  *_tight(":;.!?,"),
  # Up to the first closing bracket.
  (r"\(\s*([^)]*?)\s*\)", r"(\1)"),
  (r"\[\s*([^\]]*?)\s*\]", r"[\1]"),
  (r"\{\s*([^}]*?)\s*\}", r"{\1}"),
  (r'"\s*([^"]*?)\s*"', r'"\1"'),
  (r"'\s*([^']*?)\s*'", r"'\1'"),
  # Headings: the equals signs on either side are one symbol.
  ("= = = =", "===="),
  ("= = =", "==="),
  ("= =", "=="),
  (" ° ", "°"),
  (" \n", "\n"),
  ("\n ", "\n"),
  (" N ", " 1 "),
  (" 's", "'s"),
)
_PTB = _rules(
  (" 's", "'s"),
  ("s ' ", "s' "),
  (" n't", "n't"),
  (" \n ", "\n"),
  (r"\\/", "/"),
  (" N(?= )", " 1"),  # numbers; the lookahead finds those that follow each other
  (r"([$#]) 1", r"\g<1>1"),
  ("<unk>", "?"),
)
_LM1B = _rules(
  ("(https?) : / / ", r"\1://"),
  (r" '(\w+)", r"'\1"),
  (r" (\w+) \. ", r" \1. "),
  (r" (\w+) \.$", r" \1."),
  *_tight("?"),
  (r" \?$", "?"),
  *_tight("!"),
  (r" !$", "!"),
  *_tight(",:;"),
  (" / ", "/"),
  (r'" ([^"]+) "', r'"\1"'),
  (r"' ([^']+) '", r"'\1'"),
  (r"\( ([^()]+) \)", r"(\1)"),
  (r"\[ ([^\[\]]+) \]", r"[\1]"),
  ("([$£]) ", r"\1"),
)

DETOKENIZERS: dict[str, Detokenizer] = {
  "none": _rules(),
  "wikitext": _WIKITEXT,
  "ptb": _PTB,
  "lm1b": _LM1B,
  "lambada": _lambada,
  "scientific": lambda text: _LM1B(_WIKITEXT(text)),
}
