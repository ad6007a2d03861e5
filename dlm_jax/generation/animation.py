"""An animated SVG of a text as it is denoised: CSS alone, without a script, for a README.

Each token has a fixed place. All that appears in one frame and goes in the same later frame is one
group, whose `visibility` a CSS animation switches: the file holds a token once, not once a frame.
"""

import html
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dlm_jax.core.spread import evenly_spread
from dlm_jax.generation.rendering import MASK

# Pixels: the width of a character of a monospaced font at 14 px, the distance of lines, the margin.
_CHARACTER, _LINE, _MARGIN = 8.43, 24.0, 18.0
_SECONDS, _PAUSE = 6.0, 3.0  # of the denoising, and of the finished text
_MAX_FRAMES = 64
_COLUMNS = 64  # of a line, at most, unless one token is longer

_STYLE = """
svg{--page:#fff;--edge:#d0d7de;--ink:#1f2328;--new:#1a7f37;--given:#0969da;--mask:#d8dee4;\
--dim:#656d76}
@media (prefers-color-scheme:dark){svg{--page:#0d1117;--edge:#30363d;--ink:#e6edf3;--new:#3fb950;\
--given:#58a6ff;--mask:#30363d;--dim:#8b949e}}
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;\
white-space:pre}
.page{fill:var(--page);stroke:var(--edge)}.m{fill:var(--mask)}.t{fill:var(--ink)}\
.g{fill:var(--given)}
.step{fill:var(--dim);font-size:12px}.bar{fill:var(--new);transform-origin:0 0}
"""


@dataclass(frozen=True)
class _Place:
  """Where a token is shown: its line, its first column and the columns it takes."""

  line: int
  column: int
  width: int

  @property
  def x(self) -> float:
    return _MARGIN + self.column * _CHARACTER

  @property
  def y(self) -> float:
    return _MARGIN + (self.line + 0.7) * _LINE


def svg(frames: Sequence[Sequence[str]], *, given: np.ndarray | None = None) -> str:
  """The animation of the states `frames`, each the texts of L tokens, `rendering.MASK` for a mask.

  A masked token is a bar, a token that has just appeared is green. At most 64 frames are shown,
  evenly spread, the first and the last among them. The animation rests at the finished text, then
  begins again.

  Args:
    frames: the states in order.
    given: bool `[L]`, positions that were given: shown in a colour of their own.
  """
  chosen = evenly_spread(len(frames), _MAX_FRAMES)
  states = [frames[i] for i in chosen]
  places = _layout(states, _COLUMNS)
  times = _times(len(states))
  groups, rules = [], set()
  for (first, last), tokens in _spans(states, given).items():
    content = "".join(_token(text, places[i], name) for i, text, name in tokens)
    groups.append(_group(first, last, content, times))
    rules.add(_visible(first, last, times))
  below = max(place.line for place in places) + 1
  for frame, step in enumerate(chosen):
    label = f"step {step} of {len(frames) - 1}"
    place = _Place(below, 0, len(label))
    groups.append(_group(frame, frame + 1, _text(label, place, "step"), times))
    rules.add(_visible(frame, frame + 1, times))
  width = 2 * _MARGIN + _CHARACTER * max(place.column + place.width for place in places)
  height = 2 * _MARGIN + _LINE * (below + 1)
  return _document(width, height, _alternative(states[-1]), "".join(sorted(rules)), groups)


def _document(width: float, height: float, title: str, rules: str, groups: list[str]) -> str:
  total = _SECONDS + _PAUSE
  end = f"{_SECONDS / total:.2%}"
  new = f".n{{animation:fresh {total:g}s var(--appears) infinite both}}"
  new += "@keyframes fresh{0%{fill:var(--new)}12%,100%{fill:var(--ink)}}"
  grow = f"@keyframes grow{{0%{{transform:scaleX(0)}}{end},100%{{transform:none}}}}"
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
    f'width="{width:.0f}" height="{height:.0f}" role="img">'
    f"<title>{title}</title><style>{_STYLE}{new}{grow}{rules}</style>"
    f'<rect class="page" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>'
    + "".join(groups)
    + f'<g transform="translate({_MARGIN:.0f},{height - _MARGIN / 2 - 3:.0f})">'
    f'<rect class="m" width="{width - 2 * _MARGIN:.0f}" height="3" rx="1.5"/>'
    f'<rect class="bar" width="{width - 2 * _MARGIN:.0f}" height="3" rx="1.5" '
    f'style="animation:grow {total:g}s linear infinite"/></g></svg>\n'
  )


def _layout(states: Sequence[Sequence[str]], columns: int) -> list[_Place]:
  """The place of each token: lines break where the finished text does, and between its words."""
  final = states[-1]
  widths = [max(len(_shown(text)) for text in texts) or 1 for texts in zip(*states, strict=True)]
  places: list[_Place] = []
  line, column, word = 0, 0, 0  # `word` is the first token of the word that is being laid out
  for i, width in enumerate(widths):
    if final[i][:1].isspace() or (i and final[i - 1][-1:].isspace()):
      word = i
    if column and column + width > columns:
      line += 1
      moved = places[word:] if word < i and places[word].column else []
      column = 0
      for j in range(i - len(moved), i):
        places[j] = _Place(line, column, widths[j])
        column += widths[j]
    places.append(_Place(line, column, width))
    column += width
    if "\n" in final[i]:
      line, column, word = line + 1, 0, i + 1
  return places


def _spans(
  states: Sequence[Sequence[str]], given: np.ndarray | None
) -> dict[tuple[int, int], list[tuple[int, str, str]]]:
  """By (first frame, frame after the last): the tokens shown then: position, text, CSS class."""
  spans = defaultdict(list)
  for i, texts in enumerate(zip(*states, strict=True)):
    first = 0
    for frame in range(1, len(texts) + 1):
      if frame == len(texts) or texts[frame] != texts[first]:
        is_given = given is not None and given[i]
        name = "g" if is_given else "m" if texts[first] == MASK else "t"
        spans[first, frame].append((i, texts[first], name))
        first = frame
  return spans


def _token(text: str, place: _Place, name: str) -> str:
  if name != "m":
    return _text(_shown(text), place, name) if text.strip() else ""
  width = place.width * _CHARACTER - 1.5
  corner = f'x="{place.x:.1f}" y="{place.y - 11:.1f}"'
  return f'<rect class="m" {corner} width="{width:.1f}" height="14" rx="3"/>'


def _text(text: str, place: _Place, name: str) -> str:
  return f'<text class="{name}" x="{place.x:.1f}" y="{place.y:.1f}">{_escaped(text)}</text>'


def _group(first: int, last: int, content: str, times: Sequence[float]) -> str:
  """What is seen from frame `first` to before frame `last`; its tokens are new in frame `first`."""
  total = _SECONDS + _PAUSE
  style = f"animation:v{first}_{last} {total:g}s step-end infinite"
  if first:
    style += f";--appears:{total * times[first]:.2f}s"
    content = content.replace('class="t"', 'class="t n"')
  return f'<g data-first="{first}" data-last="{last}" style="{style}">{content}</g>'


def _times(frames: int) -> list[float]:
  """When each frame appears, as a fraction of the whole; the last one stays until 1."""
  share = _SECONDS / (_SECONDS + _PAUSE)
  return [share * frame / max(frames - 1, 1) for frame in range(frames)] + [1.0]


def _visible(first: int, last: int, times: Sequence[float]) -> str:
  """Keyframes of what is seen from frame `first` to before frame `last`."""
  stops = [f"0%{{visibility:{'hidden' if first else 'visible'}}}"]
  stops += [f"{times[first]:.2%}{{visibility:visible}}"] * bool(first)
  stops += [f"{times[last]:.2%}{{visibility:hidden}}"] * (times[last] < 1)
  return f"@keyframes v{first}_{last}{{{''.join(stops)}}}"


def _shown(text: str) -> str:
  return "".join(c if c.isprintable() else "" if c == "\n" else " " for c in text)


def _alternative(texts: Iterable[str]) -> str:
  return "A text as it is denoised: " + _escaped("".join(texts))


def _escaped(text: str) -> str:
  """The text as XML can hold it: without control characters."""
  return html.escape("".join(c if c.isprintable() else " " for c in text))
