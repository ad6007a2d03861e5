"""The report as one HTML file that needs nothing else: tables, figures, samples, a player."""

import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlm_jax.reporting import tables
from dlm_jax.reporting.comparison import Group, Result
from dlm_jax.reporting.tables import Table

# Texts of a run that are shown beside those of the others.
_SHOWN = 4

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid #e5e5e5;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; } .notes { font-size: .8rem; color: #555; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
.side section { border: 1px solid #ddd; border-radius: 6px; padding: .8rem; min-width: 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.6 ui-monospace, monospace;
  margin: .4rem 0; }
.player { border: 1px solid #ddd; border-radius: 6px; padding: 1rem; margin: 1rem 0; }
.player .controls { display: flex; gap: .8rem; align-items: center; }
.player input { flex: 1; } .player button { min-width: 5rem; font: inherit; }
.player .mask { color: #bbb; } .player .new { background: #c9f2d4; border-radius: 3px; }
"""

# Each player finds its frames in the JSON beside it. A token is new where it differs from the frame
# before; text is only ever set as text.
SCRIPT = """
for (const player of document.querySelectorAll('.player')) {
  const frames = JSON.parse(player.querySelector('script').textContent);
  const [button, slider] = [player.querySelector('button'), player.querySelector('input')];
  const [state, label] = [player.querySelector('pre'), player.querySelector('output')];
  let timer = null;
  const show = (number) => {
    state.replaceChildren(...frames[number].map((token, i) => {
      const span = document.createElement('span');
      span.textContent = token;
      if (token === '\\u00b7') span.className = 'mask';
      else if (number && frames[number - 1][i] !== token) span.className = 'new';
      return span;
    }));
    slider.value = number;
    label.textContent = `${number} / ${frames.length - 1}`;
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = 'Play'; };
  const play = () => {
    if (+slider.value === frames.length - 1) show(0);
    button.textContent = 'Pause';
    timer = setInterval(() => {
      if (+slider.value === frames.length - 1) stop(); else show(+slider.value + 1);
    }, Math.max(40, 4000 / frames.length));
  };
  button.onclick = () => timer ? stop() : play();
  slider.oninput = () => { stop(); show(+slider.value); };
  show(0);
}
"""


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
  drawn = [result for group in samples for result in group.results]
  sections = {
    "Results": "".join(table.html() for table in all_tables),
    "Training": loss_curves(curves),
    "Loss against time": "".join(map(loss_over_time, likelihood)),
    "Loss against position": "".join(map(loss_over_position, likelihood)),
    "Quality against speed": "".join(map(quality_against_speed, samples)),
    "Samples side by side": side_by_side(drawn),
    "From noise to text": "".join(map(player, drawn)),
  }
  body = "".join(f"<h2>{name}</h2>{text}" for name, text in sections.items() if text)
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width">'
    f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
    f"<body><h1>{html.escape(title)}</h1>{body}<script>{SCRIPT}</script></body></html>\n"
  )


def loss_curves(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
  """Training loss and validation bound of each run, bits a token against steps."""
  figure, axes = _figure("step", "bits per token")
  for number, (name, rows) in enumerate(curves.items()):
    for field, style in {"loss": "-", "validation_bound": "o--"}.items():
      points = [(row["step"], row[field] / math.log(2)) for row in rows if field in row]
      if points:
        label = f"{name}, {field.replace('_', ' ')}"
        axes.plot(*zip(*points, strict=True), style, color=f"C{number}", label=label, markersize=4)
  return _svg(figure, axes)


def loss_over_time(group: Group) -> str:
  """The integrand of each bound against t, with two standard errors."""
  figure, axes = _figure("t (0: data, 1: noise)", "integrand, nats a token")
  for result in group.results:
    rows = result.record.get("by_time") or []
    t = [(row["from"] + row["to"]) / 2 for row in rows]
    if rows:
      _band(axes, t, [row["nats_per_token"] for row in rows], rows, result.name)
  return _svg(figure, axes)


def loss_over_position(group: Group) -> str:
  """Nats of each position of the row, with two standard errors."""
  figure, axes = _figure("position", "nats")
  for result in group.results:
    rows = result.record.get("by_position") or []
    if rows:
      position = [row["position"] for row in rows]
      _band(axes, position, [row["nats"] for row in rows], rows, result.name)
  return _svg(figure, axes)


def quality_against_speed(group: Group) -> str:
  """Judge perplexity against network evaluations and against tokens a second.

  Speeds of different devices do not belong on one axis: they have different markers.
  """
  field = "judge_perplexity_over_tokens"
  results = [r for r in group.results if r.record["results"].get(field)]
  if not results:
    return ""
  figure = Figure(figsize=(10, 4), layout="constrained")
  by_evaluations, by_speed = figure.subplots(1, 2, sharey=True)
  devices = list(dict.fromkeys(_device(result) for result in results))
  for number, result in enumerate(results):
    value = result.record["results"][field]
    error = [[value["value"] - value["low"]], [value["high"] - value["value"]]]
    device = _device(result)
    style = {"fmt": "os^Dv"[devices.index(device) % 5], "color": f"C{number}"}
    entropy = result.record["results"]["entropy"]["value"]
    label = f"{result.name} (entropy {entropy:.2f})"
    x = tables.evaluations(result)
    by_evaluations.errorbar([x], [value["value"]], yerr=error, label=label, **style)
    speed = result.protocol["tokens_per_second"]
    by_speed.errorbar([speed], [value["value"]], yerr=error, label=device, **style)
  by_evaluations.set(xlabel="network evaluations a batch", ylabel="judge perplexity", xscale="log")
  by_speed.set(xlabel="tokens a second", xscale="log")
  for axes in (by_evaluations, by_speed):
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
  return _svg(figure, by_evaluations)


def side_by_side(results: Sequence[Result]) -> str:
  """The first texts of each run, in columns."""
  columns = []
  for result in results:
    texts = "<hr>".join(f"<pre>{html.escape(t)}</pre>" for t in result.record["texts"][:_SHOWN])
    steps = f"{tables.evaluations(result):.4g} network evaluations"
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


def _device(result: Result) -> str:
  environment: Mapping[str, Any] = result.protocol["environment"]
  return f"{environment['device_count']} x {environment['device_kind']}"


def _figure(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
  figure = Figure(figsize=(8, 4), layout="constrained")
  axes = figure.subplots()
  axes.set(xlabel=xlabel, ylabel=ylabel)
  axes.grid(alpha=0.3)
  return figure, axes


def _band(
  axes: Axes,
  x: Sequence[float],
  y: Sequence[float],
  rows: Sequence[Mapping[str, float]],
  label: str,
) -> None:
  """A line with two standard errors on either side."""
  errors = [2 * row["standard_error"] for row in rows]
  (line,) = axes.plot(x, y, label=label)
  low, high = ([v + s * e for v, e in zip(y, errors, strict=True)] for s in (-1, 1))
  axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2)


def _svg(figure: Figure, axes: Axes) -> str:
  """The figure as an SVG element; nothing if nothing was drawn."""
  if not axes.has_data():
    return ""
  if axes.get_legend() is None:
    axes.legend(fontsize=8)
  file = io.StringIO()
  figure.savefig(file, format="svg")
  return f"<figure>{file.getvalue()[file.getvalue().index('<svg') :]}</figure>"
