"""The figures of runs and of reports: a PNG beside a run, SVG elements in a page."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlm_jax.core.types import Record
from dlm_jax.reporting import tables
from dlm_jax.reporting.comparison import Group, Result

# Rows of `metrics.jsonl`.
Curve = Sequence[Mapping[str, float]]


def loss_curve(rows: Curve, path: Path) -> None:
  """Draws training loss and validation bound of one run, in bits a token, against steps.

  Args:
    rows: of `metrics.jsonl`.
    path: PNG to write.
  """
  figure, axes = _figure("step", "bits per token")
  _draw_curve(axes, rows, {"loss": "C0", "validation_bound": "C1"}, "")
  if axes.has_data():
    axes.legend()
  figure.savefig(path, dpi=120)


def loss_curves(curves: Mapping[str, Curve]) -> str:
  """Training loss and validation bound of each run, in bits a token, against steps."""
  figure, axes = _figure("step", "bits per token")
  for number, (name, rows) in enumerate(curves.items()):
    color = f"C{number}"
    _draw_curve(axes, rows, {"loss": color, "validation_bound": color}, f"{name}, ")
  return _svg(figure, axes)


def _draw_curve(axes: Axes, rows: Curve, colors: Mapping[str, str], prefix: str) -> None:
  """The two curves of a run."""
  styles = {"loss": ("training loss", "-"), "validation_bound": ("validation bound", "o--")}
  for field, (label, style) in styles.items():
    points = [(row["step"], row[field] / math.log(2)) for row in rows if field in row]
    if points:
      axes.plot(
        *zip(*points, strict=True), style, color=colors[field], label=prefix + label, markersize=4
      )


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
  """Nats of each position of the row, with two standard errors of rows counted as independent."""
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
    x = tables.mean_evaluations(result)
    by_evaluations.errorbar([x], [value["value"]], yerr=error, label=label, **style)
    speed = result.protocol["tokens_per_second"]
    by_speed.errorbar([speed], [value["value"]], yerr=error, label=device, **style)
  by_evaluations.set(xlabel="network evaluations a batch", ylabel="judge perplexity", xscale="log")
  by_speed.set(xlabel="tokens a second", xscale="log")
  for axes in (by_evaluations, by_speed):
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
  return _svg(figure, by_evaluations)


def _device(result: Result) -> str:
  environment: Record = result.protocol["environment"]
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
