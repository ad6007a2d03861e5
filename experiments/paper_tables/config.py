"""The recipes of the papers: a method of `configs/methods` on a corpus, trained as its paper does.

  python -m dlm_jax.train --config=experiments/paper_tables/config.py:mdlm,text8 --workdir=runs/mdlm

The argument is METHOD,CORPUS of `METHODS` and `CORPORA`; `configs/text8.py:mdlm,recipe=paper` is
the same, but for what a row has otherwise (`ROWS`). Each field of a recipe has its source in the
file of its method. What is done otherwise than in the papers is listed in the README of this
folder. Not trained to its end here.
"""

from types import ModuleType

from ml_collections import ConfigDict

from configs import compose, lm1b, lm1b_unpacked, openwebtext, text8
from configs.methods import plaid

CORPORA: dict[str, ModuleType] = {
  "text8": text8,
  "lm1b": lm1b,
  "lm1b_unpacked": lm1b_unpacked,
  "owt": openwebtext,
  "owt_stream": openwebtext,
  "owt_250k": openwebtext,
}
# The argument of a config that a recipe stands for, by the name that published.json has for it. A
# run that it starts from is named by the row of that run.
METHODS = {
  "ar": "autoregressive",
  "mdlm": "mdlm",
  "mdlm_time": "mdlm,time=True",
  "mdlm_discrete": "mdlm,time=True,timesteps=1000",
  "md4": "md4",
  "genmd4": "generalized_absorbing",
  "sedd": "score_absorbing",
  "sedd_uniform": "score_uniform",
  "udlm": "uniform",
  "d3pm_uniform": "uniform,timesteps=1000",
  "duo": "duo",
  "duo_distilled": "duo_distilled,teacher=runs/duo_{corpus}",
  "plaid": "plaid",
  "langflow": "langflow",
  "gidd_0": "gidd,p_u=0.0,length=512",
  "gidd_1": "gidd,p_u=0.1,length=512",
  "gidd_2": "gidd,p_u=0.2,length=512",
  "bd3lm_first": "mdlm,steps=850000",
  "sdtt": "sdtt,teacher=runs/mdlm_{corpus}",
} | {
  f"bd3lm_{size}": f"block,block_size={size},first=runs/bd3lm_first_{{corpus}},steps=150000"
  for size in (4, 8, 16)
}
METHODS |= {f"bd3lm_scratch_{size}": f"block,block_size={size}" for size in (4, 8, 16)}
# The corpora that the papers report a method on.
ONE_MILLION = ("text8", "lm1b", "owt")
ON = {
  "ar": (*ONE_MILLION, "lm1b_unpacked", "owt_250k"),
  "mdlm": (*ONE_MILLION, "lm1b_unpacked", "owt_stream", "owt_250k"),
  "mdlm_time": ("owt",),
  "mdlm_discrete": ("lm1b_unpacked",),
  "md4": ("text8", "owt"),
  "genmd4": ("text8", "owt"),
  "sedd": (*ONE_MILLION, "owt_250k"),
  "sedd_uniform": ONE_MILLION,
  "udlm": (*ONE_MILLION, "lm1b_unpacked", "owt_250k"),
  "d3pm_uniform": ("lm1b",),
  "duo": ("lm1b", "lm1b_unpacked", "owt", "owt_250k"),
  "duo_distilled": ("owt",),
  "plaid": ("text8", "lm1b"),
  "langflow": ("lm1b", "owt"),
  **{f"bd3lm_{stage}": ONE_MILLION for stage in ("first", 4, 8, 16)},
  **{f"bd3lm_scratch_{size}": ("owt_250k",) for size in (4, 8, 16)},
  "sdtt": ("owt",),
  **{f"gidd_{tenths}": ("owt",) for tenths in range(3)},
}
# Its authors report Plaid on none of these corpora: MD4's on text8 and LangFlow's on LM1B trained
# it with the network and the budget of the other rows. That is all that is known of how.
PLAID_OF_OTHERS = {
  "network.width": 768,
  "network.heads": 12,
  "network.depth": 12,
  "training.batch_size": 512,
  "training.steps": 1_000_000,
  **plaid.rates(768),
}
# MD4 and GenMD4 on OpenWebText: the authors' configs/md4/openwebtext.py.
MD4_OWT = {
  "optimizer.learning_rate": 3e-4,
  "network.dropout": 0.02,
  "network.embedding_width": 0,
  "data.packing": "stream",
}
# GIDD: a window of 512 tokens of each document, what it does not fill scored too. GPT-2 has one
# symbol alone, which begins, ends and fills up a row.
CROPPED = {
  "data.packing": "cropped",
  "data.padding": "scored",
  "data.tokenizer.pad": "<|endoftext|>",
}
# The first token is neither noised nor scored: it is [CLS], or the end of another text.
AFTER_FIRST = {"data.scored": "after_first"}
# MDLM, appendix D.2: as many tokens as masked diffusion scores, about half of those it sees.
HALF = {"training.steps": 500_000}
# Fields that a row has otherwise than the recipe of its method, by corpus, or method and corpus.
ROWS: dict[tuple[str, ...], dict[str, object]] = {
  # Eso-LMs, table 1: a quarter of the training for every method.
  ("owt_250k",): {"training.steps": 250_000},
  # BD3-LM, table 4: windows without begin and end symbols.
  ("owt_stream",): {"data.packing": "stream"},
  **{("ar", corpus): AFTER_FIRST for corpus in ("lm1b", "owt_250k")},
  **{("ar", corpus): AFTER_FIRST | HALF for corpus in ("lm1b_unpacked", "owt")},
  **{(f"bd3lm_{stage}", "lm1b"): AFTER_FIRST for stage in ("first", 4, 8, 16)},
  **{
    (f"bd3lm_{stage}", "owt"): AFTER_FIRST | {"data.packing": "stream"}
    for stage in ("first", 4, 8, 16)
  },
  **{(f"bd3lm_scratch_{size}", "owt_250k"): AFTER_FIRST for size in (4, 8, 16)},
  ("md4", "owt"): MD4_OWT,
  ("genmd4", "owt"): MD4_OWT,
  **{(f"gidd_{tenths}", "owt"): CROPPED for tenths in range(3)},
  ("plaid", "text8"): PLAID_OF_OTHERS,
  ("plaid", "lm1b"): PLAID_OF_OTHERS,
}


def recipes() -> list[tuple[str, str]]:
  """All (method, corpus) that there are."""
  return [(m, c) for m in METHODS for c in ON[m]]


def get_config(argument: str = "mdlm,text8") -> ConfigDict:
  method, _, corpus = argument.partition(",")
  if (method, corpus) not in recipes():
    known = "; ".join(f"{m},{c}" for m, c in recipes())
    raise ValueError(f"there is no recipe {argument!r}. The known ones are {known}.")
  name, *_ = METHODS[method].split(",")
  row = {**ROWS.get((corpus,), {}), **ROWS.get((method, corpus), {})}
  pairs = f"{METHODS[method].format(corpus=corpus)},recipe=paper"
  return compose.config(CORPORA[corpus].corpus, pairs, sizes={name: row})
