"""The decoders of papers and model cards by name. `--help` lists them, so it imports no JAX."""

from dataclasses import dataclass

from dlm_jax.core.types import Fields


@dataclass(frozen=True, kw_only=True)
class NamedDecoder:
  """A decoder that somebody has published.

  Attributes:
    source: where its settings are from.
    families: of checkpoints, which it is meant for; empty is any.
    fields: of `decoders.make`.
    has_noise: whether it is meant for models that were trained with random tokens, not with masks.
  """

  source: str
  fields: Fields
  families: tuple[str, ...] = ()
  has_noise: bool = False


# Of LLaDA's vocabulary: the end of text, and the end of a turn.
_END_AND_TURN = (126081, 126348)
_LLADA = ("llada", "llada_moe")
_FAST = {"name": "threshold", "threshold": 0.9, "inclusive": True}
_FAST_BLOCKS = {"length": 256, "block": 32, "rule": _FAST}
_DREAM = {
  "length": 512,
  "rule": {"name": "top_n", "schedule": "linear"},
  "score": "negative_entropy",
  "score_of_draw": True,
  "temperature": 0.2,
  "top_p": 0.95,
}
_LLADA2 = {"length": 2048, "rule": {"name": "threshold", "threshold": 0.95, "steps": 32}}
_BLOCK_CACHE = {"name": "block"}

NAMED = {
  "llada": NamedDecoder(
    source="LLaDA (Nie et al. 2025), generate.py: one token a step, anywhere in the answer",
    families=_LLADA,
    fields={"length": 128, "rule": {"name": "top_n"}},
  ),
  "llada_late_end": NamedDecoder(
    source="LLaDA-1.5 (Zhu et al. 2025), its evaluation: ends of texts and turns come last",
    families=_LLADA,
    fields={"length": 256, "rule": {"name": "top_n"}, "doubted": _END_AND_TURN},
  ),
  "llada_fast": NamedDecoder(
    source="Fast-dLLM (Wu et al. 2025) without a cache",
    families=_LLADA,
    fields=_FAST_BLOCKS,
  ),
  "llada_fast_prefix": NamedDecoder(
    source="Fast-dLLM (Wu et al. 2025), prefix cache",
    families=_LLADA,
    fields={**_FAST_BLOCKS, "cache": {"name": "prefix"}},
  ),
  "llada_fast_dual": NamedDecoder(
    source="Fast-dLLM (Wu et al. 2025), dual cache",
    families=_LLADA,
    fields={**_FAST_BLOCKS, "cache": {"name": "dual"}},
  ),
  "dream": NamedDecoder(
    source="Dream-7B-Instruct (Ye et al. 2025), its card: one token a step by entropy",
    families=("dream",),
    fields=_DREAM,
  ),
  "dream_fast_dual": NamedDecoder(
    source="Fast-dLLM (Wu et al. 2025) for Dream, dual cache",
    families=("dream",),
    fields={**_FAST_BLOCKS, "first": True, "cache": {"name": "dual"}},
  ),
  "llada2": NamedDecoder(
    source="LLaDA2.0 (Bie et al. 2025), its card",
    families=("llada2",),
    fields={**_LLADA2, "cache": _BLOCK_CACHE},
  ),
  "llada2_edit": NamedDecoder(
    source="LLaDA2.1 (2026), its card: tokens above .9 are written over",
    families=("llada2",),
    fields={
      **_LLADA2,
      "rule": {"name": "threshold", "threshold": 0.95},
      "revision": {"name": "edit", "threshold": 0.9, "most_after": 16},
      "cache": _BLOCK_CACHE,
    },
  ),
  "sdar": NamedDecoder(
    source="SDAR (Cheng et al. 2025), dynamic, at temperature 1",
    families=("sdar", "sdar_moe"),
    fields={
      "length": 2048,
      "rule": {"name": "threshold", "threshold": 0.9},
      "temperature": 1.0,
      "score_of_draw": True,
      "cache": _BLOCK_CACHE,
    },
  ),
  "fast_dllm_v2": NamedDecoder(
    source="Fast-dLLM v2 (Wu et al. 2025), with both of its caches",
    families=("fast_dllm_v2",),
    fields={
      "length": 2048,
      "rule": {"name": "threshold", "threshold": 0.9},
      "sub_block": 8,
      "first": True,
      "cache": {"name": "sub_block"},
    },
  ),
  "a2d": NamedDecoder(
    source="A2D-Qwen3 (dLLM, 2025), of either attention; prompts end with a block",
    families=("a2d_qwen3",),
    fields={
      "length": 256,
      "block": 32,
      "blocks_from": "answer",
      "rule": {"name": "top_n", "schedule": "rounded"},
    },
  ),
  "mdlm": NamedDecoder(
    source="MDLM (Sahoo et al. 2024): ancestral sampling, one token a step in a random order",
    families=("mdlm",),
    fields={"length": 128, "rule": {"name": "top_n"}, "score": "random", "temperature": 1.0},
  ),
  "bd3lm": NamedDecoder(
    source="BD3-LM (Arriola et al. 2025): the same by first hitting times in blocks, top-p .9",
    families=("bd3lm",),
    fields={
      "length": 128,
      "rule": {"name": "top_n"},
      "score": "random",
      "temperature": 1.0,
      "top_p": 0.9,
    },
  ),
  "p2": NamedDecoder(
    source="P2 (Peng et al. 2025), self-planning: the least probable tokens are masked again",
    fields={
      "length": 128,
      "rule": {"name": "top_n"},
      "revision": {"name": "remask"},
      "temperature": 1.0,
    },
  ),
  "greedy": NamedDecoder(
    source="the most certain token at each step, for any model with a mask",
    fields={"length": 64, "rule": {"name": "top_n"}},
  ),
  "renoise": NamedDecoder(
    source="the same for any model that was trained with random tokens",
    fields={"length": 64, "rule": {"name": "top_n"}, "revision": {"name": "renoise"}},
    has_noise=True,
  ),
  "diffusion_gemma": NamedDecoder(
    source="DiffusionGemma (Google 2026), its generation config, for any such model",
    fields={
      "length": 256,
      "block": 256,
      "rule": {"name": "entropy_bound", "bound": 0.1},
      "revision": {"name": "canvas"},
      "score": "negative_entropy",
      "score_of_draw": True,
      "temperature": 0.8,
    },
    has_noise=True,
  ),
}
