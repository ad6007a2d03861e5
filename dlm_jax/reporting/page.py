"""The report as one HTML file that needs nothing else: tables, figures, samples, a player."""

import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template

from dlm_jax.reporting import plots, tables
from dlm_jax.reporting.comparison import Group, Result
from dlm_jax.reporting.tables import Table

# The markup, the style and the script, beside this file.
_FILES = resources.files("dlm_jax.reporting")
# Texts of a run that are shown beside those of the others.
_SHOWN = 4


def render(
  title: str,
  curves: Mapping[str, Sequence[Mapping[str, float]]],
  grouped: Mapping[str, Sequence[Group]],
  all_tables: Sequence[Table],
) -> str:
  """The page.

  Args:
    title: its heading.
    curves: rows of metrics by run.
    grouped: groups of results by kind.
    all_tables: of these results.
  """
  likelihood, samples = grouped.get("likelihood", ()), grouped.get("samples", ())
  sampled = [result for group in samples for result in group.results]
  sections = {
    "Results": "".join(table.html() for table in all_tables),
    "Training": plots.loss_curves(curves),
    "Loss against time": "".join(map(plots.loss_over_time, likelihood)),
    "Loss against position": "".join(map(plots.loss_over_position, likelihood)),
    "Quality against speed": "".join(map(plots.quality_against_speed, samples)),
    "Samples side by side": side_by_side(sampled),
    "From noise to text": "".join(map(player, sampled)),
  }
  body = "".join(f"<h2>{name}</h2>{text}" for name, text in sections.items() if text)
  markup, style, script = (
    _FILES.joinpath(f"page.{suffix}").read_text("utf-8") for suffix in ("html", "css", "js")
  )
  return Template(markup).substitute(
    title=html.escape(title), style=style, script=script, body=body
  )


def side_by_side(results: Sequence[Result]) -> str:
  """The first texts of each run, in columns."""
  columns = []
  for result in results:
    texts = "<hr>".join(f"<pre>{html.escape(t)}</pre>" for t in result.record["texts"][:_SHOWN])
    steps = f"{tables.mean_evaluations(result):.4g} network evaluations"
    name = html.escape(result.name)
    columns.append(f"<section><strong>{name}</strong><br>{steps}{texts}</section>")
  return f'<div class="side">{"".join(columns)}</div>' if columns else ""


def player(result: Result) -> str:
  """The refinement of one sequence, to be played and scrubbed; nothing where there is none."""
  frames = result.record.get("trajectory")
  if not frames:
    return ""
  # `<` would end the script element in a text that holds `</script>`.
  data = json.dumps(frames).replace("<", "\\u003c")
  name = html.escape(result.name)
  return (
    f'<div class="player"><strong>{name}</strong><pre></pre><div class="controls">'
    f'<button>Play</button><input type="range" min="0" max="{len(frames) - 1}" value="0" '
    f'aria-label="frame of {name}"><output></output></div>'
    f'<script type="application/json">{data}</script></div>'
  )
