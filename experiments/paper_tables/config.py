"""The recipes of the papers: a method of `configs/methods` on a corpus, trained as its paper does.

  python -m dlm_jax.train --config=experiments/paper_tables/config.py:mdlm,text8 --workdir=runs/mdlm

The argument is METHOD,CORPUS of `METHODS` and `CORPORA`; `configs/text8.py:mdlm,recipe=paper` is
the same. Each field of a recipe has its source in the file of its method. What is done otherwise
than in the papers is listed in the README of this folder. Not trained to its end here.
"""

from types import ModuleType

from ml_collections import ConfigDict

from configs import lm1b, openwebtext, text8

CORPORA: dict[str, ModuleType] = {"text8": text8, "lm1b": lm1b, "owt": openwebtext}
# The argument of a config that a recipe stands for, by the name that published.json has for it.
METHODS = {
  "ar": "autoregressive",
  "mdlm": "mdlm",
  "md4": "md4",
  "genmd4": "generalized_absorbing",
  "sedd": "score_absorbing",
  "sedd_uniform": "score_uniform",
  "udlm": "uniform",
  "duo": "duo",
  "plaid": "plaid",
  "langflow": "langflow",
  "gidd_0": "gidd,p_u=0.0,length=512",
  "gidd_1": "gidd,p_u=0.1,length=512",
  "gidd_2": "gidd,p_u=0.2,length=512",
} | {f"bd3lm_{size}": f"block,block_size={size}" for size in (4, 8, 16)}
# The papers that do not report on every corpus.
ONLY = {
  "md4": ("text8",),
  "genmd4": ("text8",),
  "duo": ("lm1b", "owt"),
  "plaid": ("text8", "lm1b"),
  "langflow": ("lm1b", "owt"),
} | {f"gidd_{tenths}": ("owt",) for tenths in range(3)}


def recipes() -> list[tuple[str, str]]:
  """All (method, corpus) that there are."""
  return [(m, c) for m in METHODS for c in ONLY.get(m, CORPORA)]


def get_config(argument: str = "mdlm,text8") -> ConfigDict:
  method, _, corpus = argument.partition(",")
  if (method, corpus) not in recipes():
    known = "; ".join(f"{m},{c}" for m, c in recipes())
    raise ValueError(f"there is no recipe {argument!r}. The known ones are {known}.")
  return CORPORA[corpus].get_config(f"{METHODS[method]},recipe=paper")
