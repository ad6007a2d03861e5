"""LangFlow (2026): cross-entropy of Gaussian diffusion, uniform in information.

The authors' training code is not released. From the paper: embeddings as wide as the network, of
size sqrt(W), the Gumbel schedule, its fit and cutoff, the output prior, self-conditioning at 0.25
with a projection that starts at zero. From the model that is released: the first values of the
schedule. Inferred: the schedule's own learning rate and optimizer.

For letters the schedule starts where embeddings of W numbers are told apart: |e|^2 = W against
noise of e^gamma, so that this place moves with log W.
"""

import math

from ml_collections import ConfigDict

from configs.compose import Field
from configs.recipes import SHARED, continuous, first_entropy, of_letters, share_of_steps

LANGFLOW = "LangFlow, 2026"
CODE = f"{LANGFLOW}, the authors' model.py"
# The network is given gamma, of which the process gives a twentieth; the numbers that are published
# are bounds of the probability flow.
RECIPE = (
  *SHARED,
  Field("network.time_scale", 20.0, CODE),
  Field("evaluation.bound", "flow", f"{LANGFLOW}, the authors' eval_ppl.py"),
  Field("evaluation.flow_steps", 128, f"{LANGFLOW}, the authors' eval_ppl.py"),
)


def fields(config: ConfigDict, width: int = 0) -> tuple[Field, ...]:
  width = width or config.network.get("width") or 768
  location = math.log(width) - 0.9 if of_letters(config) else 4.723
  schedule = {"name": "gumbel", "location": location, "scale": 0.852}
  made = continuous(
    LANGFLOW,
    width=width,
    norm="root",
    objective="cross_entropy",
    prior_warmup_steps=share_of_steps(config, 5000, of=1_000_000),
    self_conditioning=0.25,
    schedule={**schedule, "entropy": first_entropy(config, 7.02)},
  )
  return (*made, Field("network.identity_input", True, CODE))
